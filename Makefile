# rowhook. `make help` lists what there is.

SHELL   := /bin/bash
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# A clone owned by someone else must build too.
export GOFLAGS := -buildvcs=false $(GOFLAGS)
# Go may be installed without being on this shell's path.
export PATH := $(PATH):/usr/local/go/bin

# nfpm is built once and kept out of go.mod, which is of what rowhook itself needs. The version stands in the
# name, so that another one is built when it changes here.
NFPM_VERSION := 2.43.4
NFPM         := .tools/nfpm-$(NFPM_VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

SOURCE ?= postgres
.PHONY: demo
demo: ## show the product in a minute (SOURCE=mysql or mariadb; CLUSTER=3 on three machines; ARGS=-keep to play)
	@.ci/install demo $(SOURCE)
	@test -x bin/rowhook-demo || echo "building rowhook, which takes a few minutes the first time"
	@$(MAKE) --no-print-directory --silent build
	@CGO_ENABLED=0 $(GO) build -o bin/rowhook-demo ./cmd/rowhook-demo
	@bin/rowhook-demo -rowhook bin/rowhook -source $(SOURCE) $(if $(CLUSTER),-cluster $(CLUSTER)) $(ARGS)

# Most tests wait for servers and timers: with as many at once as there are processors these would idle.
# Lint runs beside them, and its words come at the end.
PARALLEL ?= 4
.PHONY: test
test: tools vet $(NFPM) ## install what is missing, then run every check and test
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	  nice $(MAKE) --no-print-directory lint >"$$said" 2>&1 & lint=$$!; \
	  $(GO) test -race -timeout 30m -parallel $(PARALLEL) ./...; tests=$$?; \
	  wait $$lint; linted=$$?; \
	  echo; echo "== lint =="; cat "$$said"; \
	  if [ $$linted -eq 0 ]; then echo "ok  	lint"; else echo "FAIL	lint"; fi; \
	  exit $$((tests | linted))

.PHONY: vet
vet: ## gofmt and go vet
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt wants to change:" $$unformatted; exit 1; fi
	$(GO) vet ./...

.PHONY: build
build: ## build bin/rowhook, static and stripped
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/rowhook ./cmd/rowhook

# A commit without a tag is older than every release.
PACKAGE_VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g' | grep . || \
  git log -1 --format='0~%cd.%h' --date=format:%Y%m%d%H%M 2>/dev/null || echo '0~dev')
.PHONY: package
package: build $(NFPM) ## build bin/*.deb and bin/*.rpm for this machine's architecture
	@rm -f bin/*.deb bin/*.rpm
	@NFPM=$(CURDIR)/$(NFPM) docker/package/build bin/rowhook '$(PACKAGE_VERSION)' bin
	@ls bin/*.deb bin/*.rpm

.PHONY: trial
trial: package ## the package in an empty Debian that boots in a container, to a delivered event and beyond (SOURCE=mariadb; root)
	@.ci/trial $(SOURCE)

.PHONY: unit
unit: package ## tests of the agent in the same machine, with each agent under the unit's restrictions (RUN=TestBackfill some; root)
	@.ci/trial unit '$(value RUN)'

.PHONY: deployment
deployment: ## compose files, Kubernetes manifests, alert rules and dashboard by the programs that read them; the image by podman
	@.ci/deployment

.PHONY: nfpm
nfpm: $(NFPM) # for the packages' tests
	@echo $(CURDIR)/$(NFPM)

$(NFPM):
	@mkdir -p .tools
	@GOBIN=$(CURDIR)/.tools/new-nfpm CGO_ENABLED=0 $(GO) install -ldflags '-s -w' github.com/goreleaser/nfpm/v2/cmd/nfpm@v$(NFPM_VERSION)
	@mv .tools/new-nfpm/nfpm $@ && rmdir .tools/new-nfpm

# DATABASE is postgres, mysql or mariadb, ROWS a regular expression over the measures' names (record, batch, match,
# profiles, capture, catchup, latency, isolation, lookups, memory, cluster, idle, peer); QUICK=1 takes one short round of each;
# EARLIER=COMMIT measures that commit's agent in the same rounds.
EARLIER ?=
ROUNDS  ?=
.PHONY: bench
bench: tools ## speed beside its floor in one table, half an hour (DATABASE=postgres, ROWS=record, QUICK=1, EARLIER=COMMIT, PROOF=docs/proof.md)
	@.ci/install bench
	@if [ -n '$(EARLIER)' ]; then \
	  there=$$(mktemp -d) && trap 'rm -rf "$$there"' EXIT && git archive '$(EARLIER)' | tar -x -C "$$there" && \
	  (cd "$$there" && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o rowhook ./cmd/rowhook) || exit; \
	  export ROWHOOK_BENCH_EARLIER="$$there/rowhook"; \
	fi; \
	ROWHOOK_BENCH_QUICK=$(QUICK) ROWHOOK_PROOF=$(abspath $(PROOF)) $(GO) test -run '^$$' -bench '^BenchmarkEndToEnd$$/($(DATABASE))/($(ROWS))' \
	  -benchtime 1x -count 1 -timeout 120m ./cmd/rowhook/e2e

.PHONY: microbench
microbench: ## the packages' own benchmarks: decode, map, append, send, format
	$(GO) test -run '^$$' -bench . -skip '^BenchmarkEndToEnd$$' -benchmem -timeout 60m ./...

FULL  ?=
HOURS ?= 0
RUN   ?=
PROOF ?=
# Other servers: MARIADB=11.8 or 10.11, POSTGRES=14 to 19.
MARIADB  ?=
POSTGRES ?=
.PHONY: soak
soak: tools ## every fault and a table of them, in minutes (FULL=1 hours, HOURS=8 again and again, RUN=TestCrash some, PROOF=docs/proof.md write)
	@full='$(FULL)'; if [ '$(HOURS)' != 0 ] || [ -n '$(PROOF)' ]; then full=1; fi; \
	if [ -n "$$full" ] && [ -z '$(value RUN)' ]; then \
	  ROWHOOK_SOAK=1 $(GO) test -p 1 -timeout 60m -count 1 $$($(GO) list ./... | grep -v '/cmd/rowhook/e2e$$') || exit; \
	fi; \
	cd cmd/rowhook/e2e && $(if $(MARIADB),ROWHOOK_TEST_MARIADB=$(MARIADB) )$(if $(POSTGRES),ROWHOOK_TEST_POSTGRES=$(POSTGRES) )ROWHOOK_FAULTS=1 ROWHOOK_SOAK=$$full ROWHOOK_SOAK_HOURS=$(HOURS) ROWHOOK_PROOF=$(abspath $(PROOF)) \
	  $(GO) test -timeout $$(( $(HOURS) * 60 + 180 ))m -count 1 -run '$(value RUN)'

# EARLIER=COMMIT is what machines are upgraded from. By default it is the oldest commit that has this one's messages.
# ROUNDS=50 does each fault of TestClusterAtRandom so often; without it, twice.
.PHONY: cluster
cluster: tools ## what machines do together, on three NATS servers, with all that may happen to them (RUN=TestReplicas some, ROUNDS=50, EARLIER=COMMIT)
	ROWHOOK_CLUSTER=1 $(GO) test -race -timeout 120m -count 1 $(if $(value RUN),-run '$(value RUN)') ./cmd/rowhook/cluster/...
	ROWHOOK_CLUSTER=1 $(GO) test -timeout 10m -count 1 -run 'TestObject' ./cmd/rowhook/cluster
	ROWHOOK_CLUSTER=1 ROWHOOK_FAULTS=1 ROWHOOK_CLUSTER_EARLIER='$(EARLIER)' ROWHOOK_CLUSTER_ROUNDS=$(ROUNDS) $(GO) test -timeout 300m -count 1 -run '$(or $(value RUN),TestCluster)' ./cmd/rowhook/e2e

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@failed=; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || failed="$$failed $$target"; \
	  done; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# Built once and kept out of go.mod, which is of what rowhook itself needs. The version stands in the name,
# so that another one is built when it changes here.
LINT_VERSION := 2.15.0
LINT         := .tools/golangci-lint-$(LINT_VERSION)
.PHONY: lint
lint: $(LINT) ## run golangci-lint, which is built the first time (five minutes of one processor)
	@GOLANGCI_LINT_CACHE=$(CURDIR)/.tools/lint-cache $(LINT) run --allow-parallel-runners

$(LINT):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools/new CGO_ENABLED=0 $(GO) install -ldflags '-s -w' github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION)
	@mv .tools/new/golangci-lint $@ && rmdir .tools/new

.PHONY: tools
tools: ## install what test needs (asks for sudo if packages are missing)
	@.ci/install

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
