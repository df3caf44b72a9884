#!/bin/sh
# Runs other people's clients against bin/holdfast:
#   sh test/clients/run.sh MODEL.gguf [python] [node] [go] [lm-eval]
# Packages go into build/, from whatever indexes pip, npm and go are set up
# with. Versions are pinned here and in the lock files beside.
set -eu
cd "$(dirname "$0")/../.."
usage='usage: run.sh MODEL.gguf [python] [node] [go] [lm-eval]'
model=${1:?$usage}
shift
[ $# -gt 0 ] || set -- python node go lm-eval
openai=3.54.0
lm_eval=0.4.13

mkdir -p build/clients
OPENAI_API_KEY=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
export OPENAI_API_KEY
keys=build/clients/keys
echo "clients:$(printf %s "$OPENAI_API_KEY" | sha256sum | cut -d' ' -f1)" >"$keys"

log=build/clients/server.log
: >"$log" # of an earlier run
bin/holdfast serve --model "$model" --listen 127.0.0.1:0 --store build/clients/store --api-keys "$keys" 2>"$log" &
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
name=$(basename "$model" .gguf)

# venv NAME PACKAGE==VERSION MODULE makes an environment, once.
venv() {
	venv=build/clients/$1
	[ -e "$venv/$2" ] && return
	rm -rf "$venv"
	"${PYTHON:-python3}" -m venv "$venv"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$2"
	: >"$venv/$2"
}

client() {
	case $1 in
	python)
		venv openai "openai==$openai"
		"$venv/bin/python" test/clients/openai_client.py "$url/v1" "$name"
		;;
	node)
		rm -rf build/clients/node
		cp -r test/clients/openai-node build/clients/node
		(cd build/clients/node && npm ci --silent --no-audit --no-fund --ignore-scripts && node client.mjs "$url/v1" "$name")
		;;
	go)
		(cd test/clients/openai-go && HOLDFAST_URL=$url/v1 HOLDFAST_MODEL=$name go test -count=1 -v ./...)
		;;
	lm-eval)
		venv lm-eval "lm_eval[api]==$lm_eval"
		TQDM_DISABLE=1 "$venv/bin/python" test/clients/lm_eval_check.py "$url" "$name"
		;;
	*)
		echo "$usage" >&2
		return 2
		;;
	esac
}

for c in "$@"; do
	echo "== $c"
	if ! client "$c"; then
		cat "$log" >&2
		exit 1
	fi
done
