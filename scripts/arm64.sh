#!/bin/sh
# The part of `make test-arm64` that CI runs, a minute or two of two cores: kernels of
# linear layers and attention on every tier of arm64, guard pages, and whole models
# to their hash. Takes qemu-user from the distribution if it is not there and may be
# installed; if it cannot be had, says so and passes.
set -eu
cd "$(dirname "$0")/.."

install() {
	command -v apt-get >/dev/null 2>&1 || return 1
	sudo=
	[ "$(id -u)" = 0 ] || sudo="sudo -n"
	export DEBIAN_FRONTEND=noninteractive
	timeout 120 $sudo apt-get -qq update && timeout 120 $sudo apt-get -qq install -y --no-install-recommends qemu-user
}

command -v qemu-aarch64 >/dev/null 2>&1 || install >/dev/null 2>&1 || true
if ! command -v qemu-aarch64 >/dev/null 2>&1; then
	echo "SKIPPED: the tests of arm64: no qemu-aarch64, and qemu-user could not be installed"
	exit 0
fi
make test-arm64 ARM64_KERNELS='^Test(Linear|Quantize|Attend|Merge|GuardPages|Elementwise|RoPE|Store)'
