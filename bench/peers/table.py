#!/usr/bin/env python3
"""Holdfast beside llama.cpp on one machine: prefill, decode and batches of several models, row by row.

    bench/peers/table.py                  measure the rows that have no result yet, and write the table
    bench/peers/table.py smollm2-q4_0     measure this row, whether it has one or not
    bench/peers/table.py --list           the rows, and which have a result
    bench/peers/table.py --none           only write the table

A row's rounds run llama.cpp without and with flash attention and `holdfast bench` in an order that reverses from round
to round, so that what the machine does meanwhile falls on all alike. A round's ratio is Holdfast's rate over the better
of the peer's two in that round. On a machine that others use it stops, because the peer's threads spin at barriers and
lose most of their speed when one of them has to wait. Beside each row stands what the machine gave in the same minutes:
the speed of bare reading, and the rate of a chain of additions, which is the clock when nobody else has the cores. Each
row is a JSON file in bench/results/peers, the table is bench/results/peers.md. Needs Python 3 alone; build the peer with
bench/peers/build.sh and Holdfast with `make build`.
"""

import argparse
import datetime
import json
import pathlib
import shlex
import sys

import common
from common import ROOT, fail, shown
from rows import ROWS, prepare

SIDES = ("peer, flash attention off", "peer, flash attention on", "holdfast")
ROOF = 0.9  # of bare reading: more cannot be asked of a decode
FLASH = dict(zip(SIDES, ("0", "1")))


def commands(a, row):
    """By side, the commands of one run."""
    out = {}
    for side, flash in FLASH.items():
        bench = [a.peer, "-m", row.model, "-p", a.prefill or row.prefill, "-n", a.decode or row.decode, "-d", row.depth,
                 "-t", a.threads, "-r", a.repeat, "-fa", flash, "-o", "json"]
        out[side] = [bench]
        if row.batch:
            n = a.decode or row.decode
            out[side].append([a.peer.with_name("llama-batched-bench"), "-m", row.model, "-c", row.batch * (n + 1), "-npp", 1,
                              "-ntg", n, "-npl", row.batch, "-t", a.threads, "-tb", a.threads,
                              "-fa", ("off", "on")[int(flash)], "--output-format", "jsonl"])
    ours = [a.holdfast, "bench", "--model", row.model, "--prefill", a.prefill or row.ours or row.prefill, "--decode", a.decode or row.decode,
            "--threads", a.threads, "--rounds", a.repeat, "--json"]
    if row.depth:
        ours += ["--depth", row.depth]
    if row.batch:
        ours += ["--batch", row.batch]
    out[SIDES[2]] = [ours]
    return out


def environment(a, row, side):
    if side == "holdfast":
        return {"HOLDFAST_CPU_TIER": row.tier} if row.tier else {}
    if not row.peer:
        return {}
    # Found before the library that the peer's programs were built with.
    return {"LD_LIBRARY_PATH": str(a.peer.parent.parent / row.peer / "bin")}


def measure(a, row, side, todo):
    """One run: tokens per second by figure, and what else it says."""
    env = environment(a, row, side)
    out = [common.run_json(c, env) for c in todo]
    if side == "holdfast":
        got = {"prefill": out[0]["prefill_tok_s"], "decode": out[0]["decode_tok_s"],
               "read_gb_s": out[0]["read_gb_s"], "clock_ghz": out[0]["clock_ghz"]}
        got["of_read"] = got["decode"] * out[0]["step_bytes"] / (1e9 * got["read_gb_s"])
        if row.batch:
            got["batch"] = out[0]["sweep"][0]["tok_s"]
        return got
    got = {"build": out[0][0].get("build_commit", "")}
    for test in out[0]:
        got["prefill" if test["n_prompt"] else "decode"] = test["avg_ts"]
    if row.batch:
        got["batch"] = out[1]["speed_tg"]
    return got


def summarise(row, rounds):
    ours = SIDES[2]
    best = lambda r, k: max(r[s][k] for s in FLASH)
    return {
        "peer": {k: common.spread([best(r, k) for r in rounds]) for k in row.figures},
        "holdfast": {k: common.spread([r[ours][k] for r in rounds]) for k in row.figures},
        "ratio": {k: common.spread([r[ours][k] / best(r, k) for r in rounds]) for k in row.figures},
    } | {k: common.spread([r[ours][k] for r in rounds]) for k in ("read_gb_s", "clock_ghz", "of_read")}


def run_row(a, row):
    """Measures a row and keeps its result."""
    prepare(row)
    if not row.model.exists():
        fail(f"{shown(row.model)} is missing: make model model-gemma")
    if row.peer and not (a.peer.parent.parent / row.peer / "bin/libggml-cpu.so").exists():
        fail("the peer without AVX-512 is missing: run bench/peers/build.sh")
    common.want_quiet(a.busy)
    todo, rounds, others = commands(a, row), [], common.Others()
    for i in range(a.rounds or row.rounds):
        sides = SIDES if i % 2 == 0 else SIDES[::-1]
        rounds.append({side: measure(a, row, side, todo[side]) for side in sides})
        print(f"{row.name}, round {i + 1}: " + "; ".join(
            f"{s} " + " / ".join(f"{rounds[-1][s][k]:.1f}" for k in row.figures) for s in SIDES) +
            f"; {rounds[-1][SIDES[2]]['read_gb_s']:.1f} GB/s, {rounds[-1][SIDES[2]]['clock_ghz']:.2f} GHz", flush=True)
    during = others.cores()
    report = {
        "name": row.name, "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "model": row.model.name, "sha256": common.digest(row.model), "machine": common.machine(), "others_cores": during,
        "versions": common.version(a.holdfast), "threads": a.threads, "repeat": a.repeat,
        "prefill": a.prefill or row.prefill, "decode": a.decode or row.decode,
        "commands": {s: [" ".join([f"{k}={shown(v)}" for k, v in environment(a, row, s).items()] + [shlex.join(map(shown, c))])
                         for c in todo[s]] for s in SIDES},
        "summary": summarise(row, rounds), "rounds": rounds,
    }
    a.out.mkdir(parents=True, exist_ok=True)
    kept(a, row).write_text(json.dumps(report, indent=2) + "\n")


def kept(a, row):
    return a.out / f"{row.name}.json"


def read(a):
    return {row.name: json.loads(kept(a, row).read_text()) for row in ROWS if kept(a, row).exists()}


def line(row, r, figure):
    """One line of the table: a figure of a row."""
    s = r["summary"]
    form = lambda v, f: f"{v['median']:{f}} ({v['min']:{f}} to {v['max']:{f}})"
    of = {"prefill": f"prefill {r['prefill']}", "decode": f"decode {r['decode']}", "batch": f"{row.batch} sequences"}[figure]
    ratio = s["ratio"][figure]["median"]
    at_roof = figure == "decode" and s["of_read"]["median"] >= ROOF
    verdict = "goal" if ratio >= row.goal[figure] else "floor" if ratio >= row.floor[figure] or at_roof else "**below**"
    of_read = f"{100 * s['of_read']['median']:.0f} %" if figure == "decode" else ""
    marks = "" if r["others_cores"] is not None and r["others_cores"] <= common.QUIET else " (busy)"
    return (f"| {row.title} | {of} | {form(s['peer'][figure], '.0f')} | {form(s['holdfast'][figure], '.0f')} "
            f"| {form(s['ratio'][figure], '.2f')} | {row.floor[figure]} | {row.goal[figure]} | {verdict}{marks} "
            f"| {of_read} | {form(s['read_gb_s'], '.1f')} | {form(s['clock_ghz'], '.2f')} |")


def markdown(results):
    lines = [
        "# Beside llama.cpp", "",
        f"Tokens per second, median (least to most). The peer is llama.cpp from {common.PACKAGE}, release build, native or, where a row says AVX2, for AVX2, FMA and "
        "F16C; flash attention on or off, whichever was faster in the round. A ratio is of one round, a row's the median over its rounds. `busy`: others used the "
        "processors meanwhile, and the row proves nothing. GB/s is bare reading, GHz a chain of additions, in the same minutes by as many threads: "
        "rows whose machine differed cannot be compared with each other. Of reading: the bytes that our decode has to read, weights and KV, as a part of what bare reading "
        f"would have read; a decode at {100 * ROOF:.0f} % has reached its floor whatever the ratio. Written by `make bench-peers`.", "",
        "| model | what | peer | Holdfast | ratio | floor | goal | reached | of reading | GB/s | GHz |", "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        if row.name not in results:
            lines.append(f"| {row.title} | not measured | | | | | | | | | |")
            continue
        lines += [line(row, results[row.name], k) for k in row.figures]
    for row in ROWS:
        if row.name not in results:
            continue
        r = results[row.name]
        m = r["machine"]
        lines += ["", f"`{row.name}`: {r['date']} UTC, {r['threads']} threads, {len(r['rounds'])} rounds; {m['cpu']}, {m['cores']} cores "
                  f"({', '.join(m.get('flags', [])) or m['arch']}), {m['system']} {m['release']}; others used "
                  + ("an unknown part" if r["others_cores"] is None else f"{r['others_cores']:.2f}") + " of the cores; "
                  f"Holdfast {r['versions']['holdfast']} ({r['versions']['go']}).", "", "```"]
        lines += [c for side in SIDES for c in r["commands"][side]] + ["```"]
    return "\n".join(lines) + "\n"


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW")
    p.add_argument("--list", action="store_true", help="name the rows and stop")
    p.add_argument("--none", action="store_true", help="measure nothing")
    p.add_argument("--busy", action="store_true", help="go on although others use the processors; the table says so")
    p.add_argument("--rounds", type=int, help="of each row; else as the row says")
    p.add_argument("--prefill", type=int, help="tokens; else as the row says")
    p.add_argument("--decode", type=int, help="tokens; else as the row says")
    p.add_argument("--repeat", type=int, default=2, help="repetitions within one run")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--holdfast", type=pathlib.Path, default=ROOT / "bin/holdfast")
    p.add_argument("--peer", type=pathlib.Path, default=ROOT / "build/peer/bin/llama-bench")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/peers", help="the rows' folder; the table is FOLDER.md")
    a = p.parse_args()
    unknown = set(a.rows) - {row.name for row in ROWS}
    if unknown:
        fail(f"no row {', '.join(sorted(unknown))}: see --list")
    return a


def main():
    a = arguments()
    if a.list:
        for row in ROWS:
            print(f"{row.name:22}{'kept' if kept(a, row).exists() else '-':6}{row.title}")
        return
    if not a.none:
        common.check(a, "bench/peers/build.sh")
        for row in ROWS:
            if row.name in a.rows or not a.rows and not kept(a, row).exists():
                run_row(a, row)
                a.out.with_suffix(".md").write_text(markdown(read(a)))
    text = markdown(read(a))
    a.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
