#!/bin/sh
# Runs every fuzz target for FUZZTIME (default 60s) each, one after another.
set -eu
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-60s}
found=0
for pkg in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "$pkg $target $fuzztime"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -parallel 2 "$pkg"
		found=$((found + 1))
	done
done
echo "fuzz targets run: $found"
test "$found" -gt 0
