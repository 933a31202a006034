# make help lists the targets.
GO ?= go
GOFLAGS_BUILD := -trimpath

.PHONY: help build test unit vet fmt
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

build: bin/lotse ## bin/lotse and bin/runtime/*

bin/lotse: FORCE
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -o $@ ./cmd/lotse

.PHONY: FORCE
FORCE:

unit: ## tests that need neither root nor network
	$(GO) test ./...

vet: ## go vet and gofmt
	$(GO) vet ./...
	@out=$$(gofmt -l cmd internal); if [ -n "$$out" ]; then echo "gofmt would change: $$out"; exit 1; fi

test: vet ## everything CI runs
	$(GO) test ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/lotse
