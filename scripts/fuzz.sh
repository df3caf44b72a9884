#!/bin/sh
# Runs every fuzz target, one after another, for FUZZTIME each: a number of
# executions (300000x, the default) or a time (60s). Counts are steadier: when a
# time runs out while a worker is busy, go test may report "context deadline
# exceeded" as a failure. READERTIME is that of the readers of model files.
#
# The engine ends a worker whose input takes ten seconds, and blames the input: on a
# machine that stands still it is another's. So an input that failed is printed and run
# again by itself, and the target has failed if that fails, or if there is none.
set -eu
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-300000x}
readertime=${READERTIME:-$fuzztime}
found=0

fuzz() { # package, target, time
	go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -parallel 2 "$1" && return
	inputs=$(go list -f '{{.Dir}}' "$1")/testdata/fuzz/$2
	new=$(git ls-files --others -- "$inputs")
	test -n "$new" || return 1
	for input in $new; do
		echo "$input:"
		cat "$input"
		go test -run "^$2\$/^$(basename "$input")\$" -count 10 -timeout 5m "$1" || return 1
	done
	echo "$1 $2: passes by itself; the engine's worker was ended for another reason"
}

for pkg in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		time=$fuzztime
		case $target in FuzzOpen* | FuzzIndex | FuzzFolderConfig) time=$readertime ;; esac
		echo "$pkg $target $time"
		fuzz "$pkg" "$target" "$time"
		found=$((found + 1))
	done
done
echo "fuzz targets run: $found"
test "$found" -gt 0
