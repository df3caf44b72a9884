#!/bin/sh
# Runs every fuzz target, one after another, for FUZZTIME each: a number of
# executions (300000x, the default) or a time (60s). Counts are steadier: when a
# time runs out while a worker is busy, go test may report "context deadline
# exceeded" as a failure. READERTIME is that of the readers of model files.
set -eu
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-300000x}
readertime=${READERTIME:-$fuzztime}
found=0
for pkg in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		time=$fuzztime
		case $target in FuzzOpen* | FuzzIndex | FuzzFolderConfig) time=$readertime ;; esac
		echo "$pkg $target $time"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel 2 "$pkg"
		found=$((found + 1))
	done
done
echo "fuzz targets run: $found"
test "$found" -gt 0
