# Builds the pinned components below bin/runtime; included from the Makefile.
#
# Each component has a module of its own (runtime/*/go.mod), so that it is built with the dependency versions
# its authors tested. A component is built again when its go.mod, go.sum or this file changes.

RUNTIME_MK := runtime/runtime.mk
RUNTIME_BIN := $(addprefix bin/runtime/,containerd containerd-shim-runc-v2 runc buildkitd lotse-plane lotse-log lotse-init)

# $(call pinned,MODULE DIRECTORY,MODULE) is the version in runtime/MODULE DIRECTORY/go.mod, without its v.
pinned = $(shell awk '$$1 == "$(2)" && $$2 ~ /^v/ { print substr($$2, 2); exit } $$2 == "$(2)" { print substr($$3, 2); exit }' runtime/$(1)/go.mod)
CONTAINERD_VERSION := $(call pinned,containerd,github.com/containerd/containerd/v2)
RUNC_VERSION := $(call pinned,runc,github.com/opencontainers/runc)
BUILDKIT_VERSION := $(call pinned,buildkit,github.com/moby/buildkit)

# $(call pinned_build,MODULE DIRECTORY,TAGS,LDFLAGS,PACKAGE): the result is written beside and renamed, so that
# a running program is never written into.
define pinned_build
	@mkdir -p $(@D)
	$(GO) -C runtime/$(1) build $(GOFLAGS_BUILD) -mod=readonly -tags "$(2)" -ldflags "-s -w $(3)" -o $(CURDIR)/$@.new $(4)
	@mv $@.new $@
endef

.PHONY: deps runtime
deps: ## install from Debian's archive what is missing
	@script/deps

runtime: $(RUNTIME_BIN) ## bin/runtime/*: containerd, runc, buildkitd, the data plane, a logger, an init

CONTAINERD_LDFLAGS = -X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD_VERSION)

bin/runtime/containerd: export CGO_ENABLED = 0
bin/runtime/containerd: runtime/containerd/go.mod runtime/containerd/go.sum $(RUNTIME_MK)
	$(call pinned_build,containerd,no_btrfs no_zfs no_devmapper no_cri no_tracing urfave_cli_no_docs,$(CONTAINERD_LDFLAGS),github.com/containerd/containerd/v2/cmd/containerd)

# Without gRPC the shim is 4 MB smaller; containerd speaks ttrpc with it.
bin/runtime/containerd-shim-runc-v2: export CGO_ENABLED = 0
bin/runtime/containerd-shim-runc-v2: runtime/containerd/go.mod runtime/containerd/go.sum $(RUNTIME_MK)
	$(call pinned_build,containerd,no_grpc,$(CONTAINERD_LDFLAGS),github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2)

# Static, so that no libseccomp is needed where it runs; libseccomp-dev has the archive.
bin/runtime/runc: export CGO_ENABLED = 1
bin/runtime/runc: runtime/runc/go.mod runtime/runc/go.sum $(RUNTIME_MK) | deps
	$(call pinned_build,runc,seccomp urfave_cli_no_docs netgo osusergo,-extldflags -static,github.com/opencontainers/runc)

bin/runtime/buildkitd: export CGO_ENABLED = 0
bin/runtime/buildkitd: runtime/buildkit/go.mod runtime/buildkit/go.sum $(RUNTIME_MK)
	$(call pinned_build,buildkit,urfave_cli_no_docs,-X github.com/moby/buildkit/version.Version=v$(BUILDKIT_VERSION),github.com/moby/buildkit/cmd/buildkitd)

# Ours, hence always handed to go build, which knows what changed.
bin/runtime/lotse-plane bin/runtime/lotse-log bin/runtime/lotse-init: export CGO_ENABLED = 0
bin/runtime/lotse-plane bin/runtime/lotse-log bin/runtime/lotse-init: FORCE
	@mkdir -p $(@D)
	$(GO) build $(GOFLAGS_BUILD) -ldflags "-s -w" -o $@ ./cmd/$(@F)
