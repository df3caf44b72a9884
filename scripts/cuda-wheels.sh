#!/bin/sh
# Install NVIDIA's run-time compiler, headers and disassemblers for the tests of
# bindings/ and for `make generate-cuda`. Needs no GPU and no driver; nothing of
# it is committed.
#
#   sh scripts/cuda-wheels.sh            97 MB to fetch, 240 MB on disk
#   sh scripts/cuda-wheels.sh --cublas   520 MB to fetch, 800 MB on disk: cuBLASLt as well
#
# The packages are taken by name from the Python package index, pinned and
# checked against their SHA-256 (amd64, then arm64). They lie in build/cuda; the
# last line printed is the folder that holds include, lib and bin. Where the
# pins are installed already, nothing is done. Needs python3 with pip.
set -eu
cd "$(dirname "$0")/.."
root=build/cuda

# CUDA 13.0 is what the oldest driver of its family, 580, runs. The two tools
# that read cubins are published from 13.2 on.
base='nvidia-cuda-nvrtc==13.0.88 \
  --hash=sha256:ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575 \
  --hash=sha256:d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b
nvidia-cuda-runtime==13.0.96 \
  --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 \
  --hash=sha256:ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55
nvidia-cuda-crt==13.0.88 \
  --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4 \
  --hash=sha256:ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003
nvidia-nvml-dev==13.0.87 \
  --hash=sha256:082871368275cf6620fc900f55d8eaf2563b263a38a00a5168e9650bce963ba1 \
  --hash=sha256:f7aaa33d888da151c5902b39efdca16bc8a5535652075c2a02cd948a7a7100be
nvidia-cuda-nvdisasm==13.2.51 \
  --hash=sha256:5a7acf77c55d6d2911ed6155d4d5bc156ffadf9df7a68a89b0c1155f4b13688c \
  --hash=sha256:483c8f652c1ca006135584b4faf7ea1d2bafe4c40ec1c9ef57a04c6acfbdd57f
nvidia-cuda-cuobjdump==13.2.51 \
  --hash=sha256:95c69d3ddf0c2c1f535ec44c3433a66aeee19f588d9d22f73356e20b25f12b50 \
  --hash=sha256:f2f3bc433a91f4ff910841f2de8bc9e7ce92556602d6e363054fe2bb62a587c4'

# The prefill's matrix products, optional at run time; its own tests alone want it.
cublas='nvidia-cublas==13.1.0.3 \
  --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171 \
  --hash=sha256:c86fc7f7ae36d7528288c5d88098edcb7b02c633d262e7ddbb86b0ad91be5df2'

case "${1:-}" in
'') want=$base ;;
--cublas) want="$base
$cublas" ;;
*) echo "usage: sh scripts/cuda-wheels.sh [--cublas]" >&2; exit 2 ;;
esac

case "$(cat "$root/pins" 2>/dev/null)" in
"$want"*) ;;
*)
	# Installed beside the old folder and then moved into its place, pins
	# last: a run that is killed leaves nothing that looks complete.
	rm -rf "$root.new"
	mkdir -p "$root.new"
	printf '%s\n' "$want" > "$root.new/pins"
	PIP_ROOT_USER_ACTION=ignore "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: \
		--require-hashes --requirement "$root.new/pins" --target "$root.new"
	rm -rf "$root"
	mv "$root.new" "$root"
	;;
esac
echo "$root/nvidia/cu13"
