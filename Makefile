# What the repository can do for itself. `make` alone lists it.

GO ?= go
# Flags for all test runs: make test TESTFLAGS='-run TestLineage'
TESTFLAGS ?=
# What to test: make test PACKAGES=./sqlite/...
PACKAGES ?= ./...

# Tests run under the race detector, but for a few packages that it only slows down, many times: SQLite's C keeps its memory outside of
# Go's heap, where the detector does not look, and the codecs share nothing. One that synchronises by itself must not be named here.
UNWATCHED := modernc.org/sqlite/lib modernc.org/libc compress/flate hash/adler32 encoding/base64
RACE := -race $(UNWATCHED:%=-gcflags=%=-race=false)
# Those of whole processes run beside them, one package at a time, and without: the program that they start is the one that people run.
PROCESSES := %/test/e2e %/test/soak %/test/many
# These take longest, and mostly wait: what is begun first has the others beside it.
PATIENT := %/cmd/gerritstream %/zookeeper
packages = $(shell $(GO) list $(PACKAGES))
watched = $(filter $(PATIENT),$(packages)) $(filter-out $(PROCESSES) $(PATIENT),$(packages))
outside = $(filter $(PROCESSES),$(packages))
GOTEST := -vet=off -timeout 20m

# The linter's version is pinned here and nowhere else.
GOLANGCI_LINT := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# So is benchstat's, which compares benchmarks.
BENCHSTAT := $(GO) run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Of a soak: make soak DURATION=10m SEED=3 STORE=zookeeper PYTHON=1 READ=fan-out
DURATION ?= 60s
SEED ?= 1
STORE ?=
PYTHON ?= 0
READ ?= poll
# Of many shards: make many SHARDS=2000 STORE=sqlite QUIET=10s REST=60s POLL=10s
SHARDS ?= 1000
QUIET ?= 75s
REST ?= 20s
POLL ?=
# Of fuzzing: make fuzz FUZZTIME=10m
FUZZTIME ?= 30s
# Of benchmarks: make bench-compare BENCH=Commit COUNT=10 BENCHED=./sqlite. Those of SLOW take many minutes.
BENCH ?= .
SLOW ?= Rest|Ceiling|HandOver|Subscriptions
COUNT ?= 6
BENCHTIME ?= 200ms
BENCHED ?= $(sort $(dir $(shell grep -rl --include='*_test.go' '^func Benchmark' . | grep -v node_modules)))
BASELINE ?= test/baseline.txt
benchmarks = $(GO) test -run '^$$' -bench '$(BENCH)' -skip '$(SLOW)' -benchmem -count $(COUNT) -benchtime $(BENCHTIME) -p 1 $(BENCHED)

.PHONY: help build release deps test release-check operator soak chaos alerts many screenshots mutants fuzz lint docs fmt bench bench-compare clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/gerritstream
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/gerritstream ./cmd/gerritstream

release: ## make archives, packages, image, chart and lists of modules in dist/, for all platforms or PLATFORM=OS/ARCH; the tools are a module of their own
	cd release && $(GO) run . -root .. -out ../dist $(PLATFORM:%=-platform %)

deps: ## install what the tests need (as root on Debian), or name it
	@test/deps.sh

test: deps ## vet, then run all tests under the race detector; ends with the list of what was skipped
	$(GO) vet $(RACE) $(PACKAGES)
	$(GO) run ./test/summary $(if $(strip $(watched)),$(RACE) $(GOTEST) $(TESTFLAGS) $(watched)) -- $(if $(outside),-p 1 $(GOTEST) $(TESTFLAGS) $(outside))

release-check: ## make the release twice, install it and run it as its user; have Helm's engine render the chart: some minutes
	@release/deps.sh
	cd release && $(GO) vet ./... && $(GO) test ./... -count=1 -timeout 30m
	$(GO) vet -tags installed ./test/e2e/installed
	$(GO) test ./test/e2e/installed -tags installed -count=1 -v

operator: ## go a new operator's way: the commands of docs/install.md, on a machine of its own, from the package to an alert
	@release/deps.sh
	$(GO) test ./test/e2e/installed -tags installed -count=1 -v -run TestNewOperator

soak: deps ## several processes, everything going wrong, and a judge: DURATION, SEED, STORE=zookeeper|sqlite|postgres, PYTHON=1, READ=poll|fan-out|auto
	$(GO) test ./test/soak -count=1 -v -timeout 24h -run TestSoak -soak.duration=$(DURATION) -soak.seed=$(SEED) -soak.store=$(STORE) -soak.python=$(PYTHON) -soak.read=$(READ)

chaos: ## fifty thousand events by fan-out through every fault; fifty kills of consumers; ten thousand events for a webhook that is down; no race detector
	$(GO) test ./consumer -count=1 -v -run TestFanOutCarries
	$(GO) test ./sqlite -count=1 -v -run TestConsumersAreKilled -kills 50
	$(GO) test ./internal/api -count=1 -v -run TestRandomClients -seeds 100
	$(GO) test ./test/e2e -count=1 -v -run TestWebhookReceiverIsDown -webhook.events 10000

alerts: deps ## Debian's Prometheus raises the alerts of an outage of ZooKeeper, and no others
	$(GO) test ./test/e2e -tags alerts -count=1 -v -run TestAlertsOfAnOutage

many: deps ## what many shards cost, whatever happens to them: SHARDS, STORE=zookeeper|sqlite|postgres, QUIET, REST, POLL (the poll interval)
	$(GO) test ./test/many -count=1 -v -timeout 1h -many.shards=$(SHARDS) -many.quiet=$(QUIET) -many.rest=$(REST) -many.settle=5s -many.store=$(STORE) -many.poll=$(POLL)

screenshots: deps ## write what the status page looks like in each state, at 390, 1280 and 3840 pixels, light and dark, to bin/screenshots
	@mkdir -p bin/screenshots
	$(GO) test ./internal/admin -count=1 -run TestPageInABrowser -args -screenshots $(CURDIR)/bin/screenshots

mutants: deps ## break each guarantee on purpose, and see which test tells
	$(GO) run ./test/mutants $(MUTANTS)

fuzz: ## fuzz each target for FUZZTIME
	@for t in $$(grep -rl --include='*_test.go' '^func Fuzz' . | grep -v node_modules); do \
		for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$t); do \
			echo "== $$(dirname $$t) $$f"; $(GO) test $$(dirname $$t) -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; done

lint: ## run golangci-lint, and look for comments wider than 80 columns
	$(GOLANGCI_LINT) run ./...
	cd release && $(GOLANGCI_LINT) run ./...
	$(GO) test ./test -count=1 -run TestCommentsAreNarrow

docs: ## write docs/configuration.md and docs/schema.json from the table of settings
	$(GO) test ./test -count=1 -run 'TestConfigurationIsDocumented|TestSchemaIsOfTheTable' -update

fmt: ## format all Go files
	$(GOLANGCI_LINT) fmt ./...
	cd release && $(GOLANGCI_LINT) fmt ./...

bench: ## run the benchmarks and store their results, to compare with later: BENCH, BENCHED (packages), COUNT, BENCHTIME, BASELINE (a file)
	@mkdir -p bin
	$(benchmarks) >bin/baseline.txt || { cat bin/baseline.txt; exit 1; }
	mv bin/baseline.txt $(BASELINE)

bench-compare: ## run the benchmarks again and compare them with those stored, which should be of the same machine
	@mkdir -p bin
	$(benchmarks) >bin/benchmarks.txt || { cat bin/benchmarks.txt; exit 1; }
	$(BENCHSTAT) $(BASELINE) bin/benchmarks.txt

clean: ## remove what was built and installed here
	rm -rf bin dist internal/peers/npm/node_modules
