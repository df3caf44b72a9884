#!/bin/sh
# Runs openai_client.py against bin/holdfast: sh test/e2e/openai.sh MODEL.gguf
# The package goes into build/venv, from whatever index pip is set up with.
set -eu
cd "$(dirname "$0")/../.."
model=${1:?usage: openai.sh MODEL.gguf}
version=3.54.0

venv=build/venv
if ! "$venv/bin/python" -c "import openai, sys; sys.exit(openai.__version__ != '$version')" 2>/dev/null; then
	"${PYTHON:-python3}" -m venv "$venv"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "openai==$version"
fi

log=build/openai-server.log
: >"$log" # of an earlier run
bin/holdfast serve --model "$model" --listen 127.0.0.1:0 2>"$log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
tries=0
until grep -q '^ready: ' "$log"; do
	if ! kill -0 "$server" 2>/dev/null || [ "$tries" -ge 600 ]; then
		cat "$log" >&2
		exit 1
	fi
	tries=$((tries + 1))
	sleep 0.1
done
url=$(sed -n 's/^ready: .* on \(http:[^ ]*\) after .*/\1/p' "$log")
if ! "$venv/bin/python" test/e2e/openai_client.py "$url/v1" "$(basename "$model" .gguf)"; then
	cat "$log" >&2
	exit 1
fi
