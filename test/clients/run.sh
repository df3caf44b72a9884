#!/bin/sh
# Runs other people's clients against bin/holdfast:
#   sh test/clients/run.sh MODEL.gguf [python] [openai-api] [node] [go] [lm-eval] [guidellm]
# Packages go into build/, from whatever indexes pip, npm and go are set up
# with. Versions are pinned here and in the lock files beside.
set -eu
cd "$(dirname "$0")/../.."
usage='usage: run.sh MODEL.gguf [python] [openai-api] [node] [go] [lm-eval] [guidellm]'
model=${1:?$usage}
shift
[ $# -gt 0 ] || set -- python openai-api node go lm-eval guidellm
openai=3.54.0
export PIP_RETRIES=10 PIP_TIMEOUT=60 PIP_DISABLE_PIP_VERSION_CHECK=1

mkdir -p build/clients
OPENAI_API_KEY=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
export OPENAI_API_KEY
keys=build/clients/keys
echo "clients:$(printf %s "$OPENAI_API_KEY" | sha256sum | cut -d' ' -f1)" >"$keys"

log=build/clients/server.log
server=
stop() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	[ -z "$server" ] || wait "$server" 2>/dev/null || true
	server=
}
trap stop EXIT

# serve MODEL [FLAGS] starts a server, instead of the one before.
serve() {
	stop
	: >"$log" # of an earlier run
	bin/holdfast serve --listen 127.0.0.1:0 --api-keys "$keys" --model "$@" 2>"$log" &
	server=$!
	tries=0
	until grep -q '^ready: ' "$log"; do
		if ! kill -0 "$server" 2>/dev/null || [ "$tries" -ge 3000 ]; then
			cat "$log" >&2
			exit 1
		fi
		tries=$((tries + 1))
		sleep 0.1
	done
	url=$(sed -n 's/^ready: .* on \(http:[^ ]*\) after .*/\1/p' "$log")
	name=$(basename "$1" .gguf)
}

# venv NAME PACKAGE==VERSION... makes an environment, once: the arguments are those of
# pip install.
venv() {
	venv=$PWD/build/clients/$1
	shift
	[ "$(cat "$venv/packages" 2>/dev/null)" = "$*" ] && return
	rm -rf "$venv"
	"${PYTHON:-python3}" -m venv "$venv"
	"$venv/bin/python" -m pip install --quiet "$@"
	echo "$*" >"$venv/packages"
}

# openai_tests fetches the tests that openai-python has for its API.
openai_tests() {
	tests=build/clients/openai-$openai
	[ -e "$tests/tests" ] && return
	"$venv/bin/python" -m pip download --quiet --no-deps --no-binary openai --dest build/clients "openai==$openai"
	tar -xzf "$tests.tar.gz" -C build/clients
}

client() {
	case $1 in
	python)
		venv openai "openai==$openai"
		"$venv/bin/python" test/clients/openai_client.py "$url/v1" "$name"
		;;
	openai-api) # with the names and the key that are in these tests, and a model that says little
		venv openai-api "openai[aiohttp]==$openai" pytest==9.2.0 pytest-asyncio==1.5.0 rich==15.0.0
		openai_tests
		echo "openai-tests:$(printf %s 'My API Key' | sha256sum | cut -d' ' -f1)" >>"$keys"
		serve model/testdata/tiny/tiny-chat.gguf --served-model-name gpt-6-astra --served-model-name gpt-3.5-turbo-instruct --store off
		(
			PYTHONPATH=$PWD/test/clients TEST_API_BASE_URL=$url/v1
			export PYTHONPATH TEST_API_BASE_URL
			cd "$tests"
			"$venv/bin/python" -m pytest -p openai_api -o addopts= -q --tb=short \
				tests/api_resources/chat/test_completions.py tests/api_resources/test_completions.py tests/api_resources/test_models.py
		)
		;;
	node)
		rm -rf build/clients/node
		cp -r test/clients/openai-node build/clients/node
		(cd build/clients/node && npm ci --silent --no-audit --no-fund --ignore-scripts && node client.mjs "$url/v1" "$name")
		;;
	go)
		(cd test/clients/openai-go && HOLDFAST_URL=$url/v1 HOLDFAST_MODEL=$name go test -count=1 -v ./...)
		;;
	lm-eval) # what its model of an API imports; all that the package asks for is ten times as much
		# shellcheck disable=SC2046 # a list of words
		venv lm-eval --no-deps --no-compile $(cat test/clients/lm-eval.txt)
		TQDM_DISABLE=1 "$venv/bin/python" test/clients/lm_eval_check.py "$url" "$name"
		;;
	guidellm) # with the tiny model: it is about what is answered
		# shellcheck disable=SC2046
		venv guidellm --no-deps --no-compile $(cat test/clients/guidellm.txt)
		serve model/testdata/tiny/tiny-chat.gguf --store off
		"$venv/bin/python" test/clients/guidellm_check.py "$url" "$name" build/clients/guidellm-run
		;;
	*)
		echo "$usage" >&2
		return 2
		;;
	esac
}

for c in "$@"; do
	echo "== $c"
	case $c in
	openai-api | guidellm) ;; # have a server of their own
	*) [ "${name:-}" = "$(basename "$model" .gguf)" ] || serve "$model" --store build/clients/store ;;
	esac
	if ! client "$c"; then
		cat "$log" >&2
		exit 1
	fi
done
