# make help lists the targets.
GO ?= go
GOFLAGS_BUILD := -trimpath
TEST = $(GO) test -timeout $(TIMEOUT)
TIMEOUT = 10m

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

.PHONY: build
build: bin/lotse runtime ## bin/lotse and bin/runtime/*

bin/lotse: FORCE
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -ldflags "-s -w" -o $@ ./cmd/lotse

.PHONY: FORCE
FORCE:

include runtime/runtime.mk

.PHONY: demo
demo: deps build ## the whole story: an example built, deployed, updated under traffic, and removed
	script/as-root script/demo

.PHONY: unit
unit: ## tests that need neither root nor network, in seconds
	$(TEST) -short ./...

.PHONY: lint
lint: ## staticcheck, and code that nothing reaches; both pinned in tools/go.mod
	$(GO) tool -modfile=tools/go.mod staticcheck -checks inherit,-SA1019 ./... # SA1019: AWS deprecates members that users still send
	@dead=$$($(GO) tool -modfile=tools/go.mod deadcode -test ./...); if [ -n "$$dead" ]; then echo "$$dead"; exit 1; fi

.PHONY: vet
vet: ## go vet and gofmt
	$(GO) vet ./...
	@out=$$(gofmt -l $(wildcard cmd internal test examples)); if [ -n "$$out" ]; then echo "gofmt would change: $$out"; exit 1; fi

.PHONY: arm64
arm64: ## cross-compile for arm64
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/lotse

.PHONY: root
root: deps build ## tests that make containers, namespaces and rules of the kernel
	script/as-root $(TEST) -run Root ./internal/...

.PHONY: docker-engine
docker-engine: deps
	@script/as-root script/docker-engine

.PHONY: nginx
nginx: deps
	@script/as-root script/nginx

.PHONY: tools
tools: ## download what tests and lint run; internal/lb's tests have no network then
	@$(GO) mod download -modfile=tools/go.mod

.PHONY: e2e
e2e test: TIMEOUT = 20m
soak: TIMEOUT = 60m
e2e: deps build base-images docker-engine ## a real server, driven from outside
	script/as-root $(TEST) -count=1 ./test/...

.PHONY: conformance
conformance: deps build ## the OCI distribution specification's own suite, against a real server
	script/as-root $(TEST) -count=1 -v -run 'TestConformance$$|TestSparseManifest$$' ./test

.PHONY: base-images
base-images: deps
	@script/as-root script/base-images >/dev/null

.PHONY: test
test: deps build tools base-images docker-engine nginx vet lint arm64 ## everything CI runs
	script/as-root $(TEST) ./...

.PHONY: soak
soak: deps build tools base-images docker-engine nginx ## the long ones
	LOTSE_SOAK=1 script/as-root $(TEST) -count=1 ./cmd/lotse-log ./internal/... ./test

.PHONY: bench
bench: deps build base-images ## the figures of doc/benchmarks.md
	script/as-root $(GO) test -run '^$$' -bench . -skip 'API|AtOnce|Rollout' -benchtime 10x -timeout 30m ./test
	script/as-root $(GO) test -run '^$$' -bench 'AtOnce|Rollout' -benchtime 3x -timeout 30m ./test
	script/as-root $(GO) test -run '^$$' -bench API -benchtime 10000x -timeout 10m ./test
	script/as-root $(GO) test -run '^$$' -bench 'Proxy|Direct' -benchtime 2s ./internal/lb

.PHONY: bench-lb
bench-lb: ## the balancer beside nginx, HAProxy, Caddy and Go's ReverseProxy, those that are installed; ROW=TLS for some rows. Needs wrk, h2load
	script/as-root $(GO) test -run '^$$' -bench 'Compare/$(ROW)' -benchtime 5x -timeout 60m ./internal/lb

.PHONY: bench-registry
bench-registry: deps build base-images ## the registry beside CNCF's distribution; some minutes, and 20 GB of disk for a while
	LOTSE_BENCH_REGISTRY=1000 script/as-root $(GO) test -run '^$$' -bench Registry -benchtime 1x -timeout 60m ./test
