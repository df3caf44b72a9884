# Holdfast. `make` alone lists the targets.
GO     ?= go
PYTHON ?= python3
MODEL  ?= models/SmolLM2-135M-Instruct.Q4_1.gguf
LISTEN ?= 127.0.0.1:8080
FLAGS  ?=
POSITIONS ?= 512
ARM64_KERNELS ?= ^Test

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build run model model-gemma test test-long test-schedules test-clients accuracy gpu-check bench bench-peers bench-peers-serve bench-pauses bench-sessions bench-surface roofline test-arm64 lint generate generate-cuda clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/holdfast
	$(GO) build -trimpath -ldflags="-s -w" -o bin/holdfast ./cmd/holdfast

run: build $(MODEL) ## build, fetch the default model if needed, serve it
	bin/holdfast serve --model $(MODEL) --listen $(LISTEN) $(FLAGS)

model: $(MODEL) ## fetch the default model (SmolLM2 135M, 98 MB)

models/SmolLM2-135M-Instruct.Q4_1.gguf:
	$(PYTHON) scripts/model.py smollm2 --dir models

model-gemma: ## fetch Gemma 3 270M, used by tests
	$(PYTHON) scripts/model.py gemma3-270m --dir models

test: ## all tests that need no accelerator, under 10 minutes on 2 cores
	$(GO) vet ./...
	RAPID_SEED=1 $(GO) test -timeout 60m ./...

test-long: test-schedules ## the race detector (needs a C compiler), full counts, every fuzz target
	RAPID_CHECKS=5000 $(GO) test -count=1 -timeout 30m ./kvcache ./sampler ./scheduler ./session -run 'Model|Plain|Math|Kept|Pool|Window'
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./...
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 30m -v -run Gemma3 ./device/cpu
	for p in weights model tokenizer; do HOLDFAST_LONG=1 $(GO) test -count=1 -cover -timeout 180m -v -run '^TestMutants' ./$$p || exit 1; done
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 60m ./tokenlog ./session ./kvcache/store
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 60m -v -run 'Resume|Damaged|PowerCuts' ./engine
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 60m -v -run CUDA ./engine
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 60m -v -run 'Leavers|Storms|IdleConnections|Overload|Witness|Kill' ./test/e2e
	$(MAKE) model-gemma && PYTHON=$(PYTHON) sh scripts/folders.sh
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 60m -run Folders ./model
	sh scripts/cuda-wheels.sh
	$(GO) test -timeout 30m ./kernels/cuda/build -afresh
	READERTIME=10000000x sh scripts/fuzz.sh

test-schedules: $(MODEL) ## batching at full counts: a million steps and canaries, 50 schedules of the real model
	HOLDFAST_LONG=1 $(GO) test -count=1 -timeout 180m -v -run 'SimLong|Schedules|Canaries' -skip CUDA ./scheduler ./engine

test-clients: build $(MODEL) ## clients of OpenAI in Python (and its own API tests), Node and Go, lm-eval and guidellm, against a served model
	sh test/clients/run.sh $(MODEL) $(CLIENTS)

accuracy: $(MODEL) model-gemma ## KL, first token and perplexity of each model and type beside llama.cpp; writes bench/results/accuracy.md (needs gguf, numpy)
	sh bench/peers/build.sh
	PYTHON=$(PYTHON) sh scripts/folders.sh
	HOLDFAST_ACCURACY=$(POSITIONS) $(GO) test -count=1 -timeout 120m -v -run '^TestAccuracy$$' ./model

gpu-check: ## goldens, properties and figures on a GPU, as one binary that needs no Go there; rehearsed on the emulator by `make test`
	$(GO) test -c -trimpath -ldflags="-s -w" -o bin/gpu-check ./internal/gpucheck
	@test $$(stat -c %s bin/gpu-check) -le 31457280 || { echo "bin/gpu-check is larger than 30 MiB"; exit 1; }
	bin/gpu-check -gpu -sanitize -figures bin/gpu-check.json -test.v -test.timeout 40m

bench: ## micro-benchmarks of kernels, sampler, tokenizer, scheduler
	$(GO) test -run '^$$' -bench . ./kernels/... ./sampler ./tokenizer ./scheduler ./server ./device/...

bench-peers: build $(MODEL) model-gemma ## build llama.cpp, run it and us in turns, row by row; write bench/results/peers.md (ROWS="smollm2-q4_0 …" alone)
	sh bench/peers/build.sh
	$(PYTHON) bench/peers/table.py $(ROWS)

bench-peers-serve: build $(MODEL) ## the same load on llama-server and us in turns, write bench/results
	sh bench/peers/build.sh --all
	$(PYTHON) bench/peers/serve.py --model $(MODEL)

bench-pauses: $(MODEL) ## pauses of the collector and lateness of goroutines beside streams and a syncing writer; write bench/results
	$(GO) test -run '^$$' -bench Pauses -benchtime 1x ./cmd/holdfast -pauses $(CURDIR)/bench/results/pauses.md

bench-surface: $(MODEL) ## idle connections, 429s at 5 times the load, a stream beside malformed requests; write bench/results
	sh bench/surface.sh

bench-sessions: build $(MODEL) ## resume, forks, parked sessions and the log's price, beside llama-server's slots; write bench/results
	sh bench/peers/build.sh --all
	$(GO) run ./bench/sessions -model $(MODEL)

roofline: ## draw the CPU kernels against this machine's roofs into bench/results
	$(GO) test -run '^$$' -bench Roofline -benchtime 1x ./kernels/cpu -roofline $(CURDIR)/bench/results/roofline.svg

test-arm64: ## the kernels of arm64 and a hash of logits, under qemu-aarch64 (Debian: qemu-user)
	GOARCH=arm64 $(GO) test -exec "qemu-aarch64 -cpu max" -timeout 30m -run '$(ARM64_KERNELS)' ./kernels/cpu
	GOARCH=arm64 $(GO) test -exec "qemu-aarch64 -cpu max" -run LogitsHash ./device/cpu

lint: ## formatting, vet, import arrows
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) test ./internal/lint

generate: ## write the generated kernels anew
	cd kernels/_generate && $(GO) run . -out ../cpu

generate-cuda: ## compile the CUDA kernels anew (fetches the pinned compiler)
	$(GO) run ./kernels/cuda/build -nvrtc "$$(sh scripts/cuda-wheels.sh)/lib" -dir kernels/cuda

clean: ## remove what was built (models stay)
	rm -rf bin build
