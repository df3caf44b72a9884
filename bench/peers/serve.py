#!/usr/bin/env python3
"""Holdfast's server beside llama-server: the same load on both, in turns on one machine.

    bench/peers/serve.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --name serve-smollm2-q4_1

Every round starts llama-server without and with flash attention and `holdfast serve`, one at a time, in an order that
reverses from round to round, and sends each the same prompts with `holdfast bench serve`: streams that share nothing
but the chat template, with a seed that differs from round to round. The load generator takes its share of the same
cores on all sides. A round's ratio is Holdfast's output rate over the better of the peer's two in that round. Writes
bench/results/NAME.json and NAME.md. Needs Python 3 alone; build the peer with `bench/peers/build.sh --all` and
Holdfast with `make build`.
"""

import argparse
import datetime
import json
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import common
from common import ROOT, fail, shown

SIDES = ("llama-server, flash attention off", "llama-server, flash attention on", "holdfast")
FIGURES = (  # key, title, format, function of a report
    ("output_tok_s", "output tok/s", ".1f", lambda r: r["output_tok_s"]),
    ("ttft_p50_ms", "TTFT p50, ms", ".0f", lambda r: r["ttft_ms"]["p50"]),
    ("ttft_p99_ms", "TTFT p99, ms", ".0f", lambda r: r["ttft_ms"]["p99"]),
    ("itl_p50_ms", "ITL p50, ms", ".0f", lambda r: r["itl_ms"]["p50"]),
    ("itl_p99_ms", "ITL p99, ms", ".0f", lambda r: r["itl_ms"]["p99"]),
    ("cached_tokens", "prompt tokens from a prefix cache", ".0f", lambda r: r["cached_tokens"]),
)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def commands(a):
    """The servers' commands, less the port. llama-server gets a slot for each stream and no cache beside them."""
    peer = [a.peer, "-m", a.model, "-t", a.threads, "-np", a.streams, "-c", a.streams * a.context, "-cram", 0]
    return {
        SIDES[0]: peer + ["-fa", "off"],
        SIDES[1]: peer + ["-fa", "on"],
        SIDES[2]: [a.holdfast, "serve", "--model", a.model, "--threads", a.threads, "--max-sequences", a.streams,
                   "--context", a.context, "--log-level", "error", "--store", "off"],
    }


def load(a, url, seed):
    return [a.holdfast, "bench", "serve", "--url", url, "--concurrency", a.streams, "--requests", a.requests,
            "--prompt-tokens", a.prompt, "--output-tokens", a.output, "--slo-ttft", "10s", "--slo-itl", "200ms",
            "--seed", seed, "--json"]


def wait_ready(process, url, log):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if process.poll() is not None:
            fail(f"{process.args[0]}: exit code {process.returncode}\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url + "/health", timeout=5) as r:
                if r.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    fail(f"{process.args[0]}: not ready after five minutes")


def measure(a, side, command, seed, scratch):
    """One run: a server, the load, the report of the load."""
    port, log = free_port(), pathlib.Path(scratch) / "server.log"
    address = ["--listen", f"127.0.0.1:{port}"] if side == "holdfast" else ["--host", "127.0.0.1", "--port", port]
    with open(log, "w") as out:
        process = subprocess.Popen([str(c) for c in command + address], stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(process, url, log)
        report = common.run_json(load(a, url, seed))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if report["completed"] != a.requests or report["short_outputs"]:
        fail(f"{side}: {report['completed']} of {a.requests} requests completed, {report['short_outputs']} of them short: "
             f"{report.get('first_failures')}")
    return report


def summarise(rounds):
    out = {"sides": {}}
    for side in SIDES:
        out["sides"][side] = {key: common.spread([of(r[side]) for r in rounds]) for key, _, _, of in FIGURES}
    out["ratio"] = common.spread([r[SIDES[2]]["output_tok_s"] / max(r[s]["output_tok_s"] for s in SIDES[:2]) for r in rounds])
    return out


def markdown(report):
    m, s, a, o = report["machine"], report["summary"], report["arguments"], report["others_cores"]
    lines = [
        f"# {report['name']}", "",
        f"{a['streams']} streams, {a['requests']} requests of {a['prompt']} prompt tokens and {a['output']} tokens out, a context of "
        f"{a['context']}; model `{report['model']}`, {a['threads']} threads, {a['rounds']} rounds in turns, {report['date']}.",
        f"Machine: {m['cpu']}, {m['cores']} cores ({', '.join(m.get('flags', [])) or m['arch']}), {m['system']} {m['release']}; "
        + ("unknown use by others." if o is None else f"others used {o:.2f} cores meanwhile" + (
            "." if o <= common.QUIET else ": the figures below are of a busy machine and prove nothing.")),
        f"Holdfast {report['versions']['holdfast']} ({report['versions']['go']}); peer: llama.cpp from {report['versions']['peer']}, "
        "native release build. The load generator runs on the same cores.", "",
        "| median (least to most) | " + " | ".join(title for _, title, _, _ in FIGURES) + " |",
        "|---|" + "---|" * len(FIGURES),
    ]
    for side in SIDES:
        cells = []
        for key, _, form, _ in FIGURES:
            v = s["sides"][side][key]
            cells.append(f"{v['median']:{form}} ({v['min']:{form}} to {v['max']:{form}})")
        lines.append(f"| {side} | " + " | ".join(cells) + " |")
    v = s["ratio"]
    lines += ["", f"Output rate, Holdfast over the better peer run of the round: **{v['median']:.2f}** ({v['min']:.2f} to {v['max']:.2f}).",
              "", "Commands:", "", "```"] + list(report["commands"].values()) + ["```", ""]
    return "\n".join(lines)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("--name", default="serve-smollm2-q4_1", help="of the files in bench/results")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--streams", type=int, default=32)
    p.add_argument("--requests", type=int, default=96)
    p.add_argument("--prompt", type=int, default=134, help="tokens")
    p.add_argument("--output", type=int, default=64, help="tokens")
    p.add_argument("--context", type=int, default=256, help="tokens of one stream")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--holdfast", type=pathlib.Path, default=ROOT / "bin/holdfast")
    p.add_argument("--peer", type=pathlib.Path, default=ROOT / "build/peer/bin/llama-server")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results")
    p.add_argument("--busy", action="store_true", help="go on although others use the processors")
    p.add_argument("--require", type=float, default=0, help="fail if the median ratio is below this")
    a = p.parse_args()
    if not a.model.exists():
        fail(f"{shown(a.model.absolute())} is missing: run make model")
    common.check(a, "bench/peers/build.sh --all")
    a.model = a.model.resolve()
    return a


def main():
    a = arguments()
    common.want_quiet(a.busy)
    todo, rounds, others = commands(a), [], common.Others()
    with tempfile.TemporaryDirectory(prefix="holdfast-peers-") as scratch:
        for i in range(a.rounds):
            sides = SIDES if i % 2 == 0 else SIDES[::-1]
            rounds.append({side: measure(a, side, todo[side], 1 + i, scratch) for side in sides})
            print(f"round {i + 1}: " + "; ".join(f"{s} {rounds[-1][s]['output_tok_s']:.1f} tok/s, TTFT p50 "
                  f"{rounds[-1][s]['ttft_ms']['p50']:.0f} ms, ITL p99 {rounds[-1][s]['itl_ms']['p99']:.0f} ms" for s in SIDES), flush=True)
            prompts = {s: rounds[-1][s]["prompt_tokens"] for s in SIDES}
            if max(prompts.values()) > 1.02 * min(prompts.values()):
                fail(f"the sides count different prompts: {prompts}")
    during = others.cores()

    report = {
        "name": a.name, "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "model": a.model.name, "sha256": common.digest(a.model), "machine": common.machine(), "others_cores": during,
        "versions": common.version(a.holdfast),
        "arguments": {k: getattr(a, k) for k in ("rounds", "streams", "requests", "prompt", "output", "context", "threads")},
        "commands": {k: shlex.join(map(shown, v)) for k, v in todo.items()} | {
            "load": shlex.join(map(shown, load(a, "URL", "ROUND")))},
        "summary": summarise(rounds), "rounds": rounds,
    }
    a.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2).replace(str(ROOT) + "/", "")  # llama-server names its model by its path
    (a.out / f"{a.name}.json").write_text(text + "\n")
    (a.out / f"{a.name}.md").write_text(markdown(report))
    print(markdown(report))
    ratio = report["summary"]["ratio"]["median"]
    if ratio < a.require:
        fail(f"below {a.require} of the peer: {ratio:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
