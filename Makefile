# What the repository can do for itself. `make` alone lists it.

GO ?= go
# Flags for all test runs: make test TESTFLAGS='-run TestLineage'
TESTFLAGS ?=
# What to test: make test PACKAGES=./sqlite/...
PACKAGES ?= ./...
# The linter's version is pinned here and nowhere else.
GOLANGCI_LINT := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: help build deps test lint fmt bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/gerritstream
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/gerritstream ./cmd/gerritstream

deps: ## install what the tests need (as root on Debian), or name it
	@test/deps.sh

test: deps ## vet, then run all tests under the race detector; ends with the list of what was skipped
	$(GO) vet $(PACKAGES)
	$(GO) run ./test/summary -race -timeout 5m $(TESTFLAGS) $(PACKAGES)

lint: ## run golangci-lint
	$(GOLANGCI_LINT) run ./...

fmt: ## format all Go files
	$(GOLANGCI_LINT) fmt ./...

bench: ## run all benchmarks
	$(GO) test -run '^$$' -bench . -benchmem $(TESTFLAGS) $(PACKAGES)

clean: ## remove what was built and installed here
	rm -rf bin dist internal/peers/npm/node_modules
