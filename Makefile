# What a person does in this repository. Building needs Go, make and a shell; the tests of the
# app need Node with npm as well. "make test" gets the rest by itself where apt can install it.

GO       ?= go
FUZZTIME ?= 30s
TIMEOUT  ?= 20m
KILLS    ?= 50
NOTES    ?= 10000
AWAY     ?= 60s
SECONDS  ?= 60
SEED     ?= 0

# Without a HOME that can be written (a container, a build account), Go finds no place for its
# caches. Then they go into this folder, unless the environment already says where.
ifneq ($(shell test -n "$$HOME" && test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
ifeq ($(GOCACHE),)
export GOCACHE := $(CURDIR)/.cache/go-build
endif
ifeq ($(GOMODCACHE)$(GOPATH),)
export GOMODCACHE := $(CURDIR)/.cache/mod
export GOPATH := $(CURDIR)/.cache/go
endif
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build test check plain race gcc labtools faulttools vet lint generate fuzz sim bench demo lab faults clean web modules node fresh webtest browser

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/trunkline, static, without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/trunkline ./cmd/trunkline

test: gcc vet check fresh webtest plain race ## everything a change has to pass (installs gcc if it is missing)

# Zero-allocation tests only mean something without the race detector, so both passes count.
plain: labtools faulttools ## the tests, without the race detector
	$(GO) test -timeout $(TIMEOUT) ./...

race: gcc labtools faulttools ## the tests, with the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout $(TIMEOUT) ./...

gcc: # the race detector is built with cgo
	@./.ci/need-gcc

labtools: # root runs the tests in network namespaces too
	@./.ci/need-lab

faulttools: # the fault tests break system calls
	@./.ci/need-faults

vet: ## go vet
	$(GO) vet ./...

check: # generated code is what would be generated now
	$(GO) run ./internal/protogen -check

web: modules ## write web/dist, the app for the browser, from web/app (needs npm)
	cd web && npm run build --workspace app

modules:
	cd web && npm ci

# Building needs no Node, and a machine without it takes the committed app as it is; but its
# tests, and whether web/dist is what the sources build, need one.
node:
	@./.ci/need-node

fresh: node # web/dist is what its sources build now, in any folder
	cd web && { test -d node_modules || npm ci; } && npm run fresh --workspace app

webtest: node # types and tests of the SDK and the app; those in real browsers are "make browser"
	cd web && { test -d node_modules || npm ci; } && npm run check && npm run test --workspace app && \
		npm run test:node --workspace sdk

browser: node labtools ## the journeys of SDK and app in real browsers (CHROMIUM and FIREFOX, else those of /usr/bin)
	@./.ci/need-browsers
	cd web && { test -d node_modules || npm ci; } && npm run test:browser --workspace sdk && npm run e2e --workspace app

lint: ## golangci-lint with .golangci.yml
	@if command -v golangci-lint >/dev/null 2>&1; then golangci-lint run; \
	else $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run; fi

generate: ## write the Go code of the .proto files
	$(GO) run ./internal/protogen

fuzz: ## every fuzz target for FUZZTIME (30s) each
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

sim: ## the simulation with random seeds for SECONDS (60), or with one SEED
	$(GO) test ./internal/testnet -run '^TestSimulation$$' -count=1 -v -timeout 0 -sim.seconds=$(SECONDS) -sim.seed=$(SEED)

bench: ## every Go benchmark
	$(GO) test -run '^$$' -bench . -benchmem ./...

demo: ## two nodes, two people, a note, a call, a file, a refusal
	$(GO) run ./cmd/trunkline demo

lab: labtools ## every pair of networks, in namespaces (Linux, root): prints the table
	TRUNKLINE_LAB=full $(GO) test -count=1 -v -timeout $(TIMEOUT) ./internal/lab/...

faults: faulttools ## real nodes killed KILLS (50) times under NOTES (10000) notes, with a SEED, and other faults at length
	$(GO) test ./internal/faults -count=1 -v -timeout 0 -kills=$(KILLS) -notes=$(NOTES) -seed=$(SEED) -away=$(AWAY)

clean: ## what was built here
	rm -rf bin
	@if [ -d .cache ]; then chmod -R u+w .cache; rm -rf .cache; fi
