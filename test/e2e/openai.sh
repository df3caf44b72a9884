#!/bin/sh
# Runs the openai package for Python against bin/holdfast: sh test/e2e/openai.sh MODEL.gguf
exec sh "$(dirname "$0")/../clients/run.sh" "${1:?usage: openai.sh MODEL.gguf}" python
