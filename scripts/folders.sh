#!/bin/sh
# Writes the models of `make model` and `make model-gemma` as folders of safetensors
# into build/folders: in F32, and in F16 with a GGUF file of the same values. Needs
# Python with gguf and numpy. About 3 GB of disk; what is there already stays.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=build/folders
mkdir -p "$out"
write() { # NAME MODEL SHARDS
	[ -e "$out/$1-f32.done" ] || {
		"$python" model/testdata/folder.py "$2" "$out/$1-f32" --type F32 --shards "$3"
		touch "$out/$1-f32.done"
	}
	[ -e "$out/$1-f16.done" ] || {
		"$python" model/testdata/folder.py "$2" "$out/$1-f16" --type F16 --shards "$3" --gguf "$out/$1-f16.gguf"
		touch "$out/$1-f16.done"
	}
}
write smollm2 models/SmolLM2-135M-Instruct.Q4_1.gguf 2
write gemma3 models/gemma-3-270m-q4_k_m.gguf 1
