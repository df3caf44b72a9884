#!/bin/sh
# Runs every fuzz target, one after another, for FUZZTIME each: a number of
# executions (300000x, the default) or a time (60s). Counts are steadier: when a
# time runs out while a worker is busy, go test may report "context deadline
# exceeded" as a failure.
set -eu
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-300000x}
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
