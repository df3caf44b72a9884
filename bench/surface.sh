#!/bin/sh
# What the server costs beside its model: clients that leave, idle connections,
# requests turned away under five times the load, a stream beside malformed requests.
#   sh bench/surface.sh [RESULT.md]
# The tests of test/e2e (leavers_test.go, surface_test.go) measure at full counts and print rows.
set -eu
cd "$(dirname "$0")/.."
out=${1:-bench/results/surface.md}
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
before=$(cut -d' ' -f1 /proc/loadavg)
HOLDFAST_LONG=1 HOLDFAST_FIGURES=$rows ${GO:-go} test -count=1 -timeout 20m -v -run 'Leavers|IdleConnections|Overload|Witness' ./test/e2e |
	grep -v 'msg=completion' || { echo "the tests failed" >&2; exit 1; }
[ "$(wc -l <"$rows")" -eq 10 ] || { echo "not all was measured" >&2; exit 1; }
{
	echo "# The surface"
	echo
	echo "What the server costs beside its model, $(date -u +%Y-%m-%d): \`make bench-surface\`, one run. The clients run on the same cores, those of malformed requests on half of them and their server on the other."
	echo "Machine: $cpu, $(nproc) cores, Linux $(uname -r); load average before the run $before (0 is a machine that does nothing else)."
	awk -v load="$before" 'BEGIN { if (load >= 0.5) print "**Others used the machine during this run: its times say nothing, its memory and counts do.**" }'
	echo "Holdfast $(git rev-parse --short HEAD), $(${GO:-go} env GOVERSION). Leavers, connections and 429s with the tests' tiny model, the stream with SmolLM2 135M Q4_1."
	echo
	echo "| what | measured | wanted |"
	echo "|---|---|---|"
	cat "$rows"
} >"$out"
cat "$out"
