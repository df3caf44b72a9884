#!/usr/bin/env python3
"""Make the PTX of the CUDA C kernels in this folder.

    sh scripts/cuda-wheels.sh      # once, from the top of the tree
    python3 internal/testkit/ptxemu/testdata/ptx.py

Compiler: NVRTC 13.0.88 (nvidia-cuda-nvrtc), headers 13.0.96 and 13.0.88
(nvidia-cuda-runtime, nvidia-cuda-crt), --gpu-architecture=sm_80 --std=c++17.
"""
import ctypes
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
root = here.parents[3] / "build/cuda/nvidia/cu13"

for lib in ("libnvrtc-builtins.so.13.0", "libnvrtc.so.13"):
    nvrtc = ctypes.CDLL(str(root / "lib" / lib), ctypes.RTLD_GLOBAL)


def text(program, kind):
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
    buf = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{kind}")(program, buf)
    return buf.value


def compile(path):
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), path.read_bytes(), path.name.encode(), 0, None, None):
        sys.exit("nvrtcCreateProgram failed")
    options = [b"--gpu-architecture=sm_80", b"--std=c++17", b"-lineinfo", b"-I" + str(root / "include").encode()]
    rc = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if rc:
        sys.exit(f"{path.name}: {text(program, 'ProgramLog').decode()}")
    return text(program, "PTX")


for path in sorted(here.glob("*.cu")):
    here_only = compile(path).replace(str(pathlib.Path.cwd()).encode() + b"/", b"")  # the compiler names its folder
    path.with_suffix(".ptx").write_bytes(here_only)
    print(path.with_suffix(".ptx").name)
