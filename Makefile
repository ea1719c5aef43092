# rowhook. `make help` lists what there is.

SHELL   := /bin/bash
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# A clone owned by someone else must build too.
export GOFLAGS := -buildvcs=false $(GOFLAGS)
# Go may be installed without being on this shell's path.
export PATH := $(PATH):/usr/local/go/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

SOURCE ?= postgres
.PHONY: demo
demo: ## show the product in a minute (SOURCE=mysql or mariadb; ARGS=-keep to play)
	@.ci/install demo $(SOURCE)
	@test -x bin/rowhook-demo || echo "building rowhook, which takes a few minutes the first time"
	@$(MAKE) --no-print-directory --silent build
	@CGO_ENABLED=0 $(GO) build -o bin/rowhook-demo ./cmd/rowhook-demo
	@bin/rowhook-demo -rowhook bin/rowhook -source $(SOURCE) $(ARGS)

.PHONY: test
test: tools vet ## install what is missing, then run every check and test
	$(GO) test -race -timeout 12m ./...

.PHONY: vet
vet: ## gofmt and go vet
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt wants to change:" $$unformatted; exit 1; fi
	$(GO) vet ./...

.PHONY: build
build: ## build bin/rowhook, static and stripped
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/rowhook ./cmd/rowhook

.PHONY: bench
bench: tools ## run the benchmarks, each figure beside its floor
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...

HOURS ?= 0
RUN   ?=
PROOF ?=
.PHONY: soak
soak: tools ## run every fault at full length (RUN=TestCrash some, HOURS=8 again and again, PROOF=docs/proof.md write the table)
	@test -n '$(value RUN)' || ROWHOOK_SOAK=1 $(GO) test -p 1 -timeout 60m -count 1 $$($(GO) list ./... | grep -v '/cmd/rowhook$$')
	cd cmd/rowhook && ROWHOOK_SOAK=1 ROWHOOK_SOAK_HOURS=$(HOURS) ROWHOOK_PROOF=$(abspath $(PROOF)) \
	  $(GO) test -timeout $$(( $(HOURS) * 60 + 180 ))m -count 1 -run '$(value RUN)'

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@failed=; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || failed="$$failed $$target"; \
	  done; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

.PHONY: lint
lint: ## run golangci-lint, which must be installed
	golangci-lint run

.PHONY: tools
tools: ## install what test needs (asks for sudo if packages are missing)
	@.ci/install

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
