# SPDX-License-Identifier: Apache-2.0
# Every target is a line or two; the work is in swift, pytest and scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help bpf deps deps-build build test unit e2e e2e-v2 simulate fuzz model demo check bench
.PHONY: bench-burst bench-requests bench-switch bench-memory bench-memory-v2 bench-app chaos docs
.PHONY: acceptance e2e-containerd2
.PHONY: chaos-nodes demo-svg fmt house install shrink-race uninstall clean deb tarball package-test
.PHONY: simulate-nodes tools

PREFIX ?= /usr/local
DESTDIR ?=
export PREFIX DESTDIR FORCE

help: ## Say what can be made (this text)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

deps: ## Install by apt what is missing to build and test: libraries, engines, pytest
	@scripts/deps test

deps-build: ## Install by apt what is missing to build, and no engine
	@scripts/deps build

build: deps-build ## Build escra-runc and escra, static, into .build/release
	@for program in escra-runc escra escra-agent; do \
	  scripts/swift build -c release --product $$program || exit; done

tools: deps-build ## Build the programs of the tests as well: simulations, hammer, shrink-race
	@scripts/swift build -c release

test: unit e2e ## Run the unit tests, then the end-to-end suite (needs root)

unit: deps tools
	@ESCRA_RUNC_BINARY=$(CURDIR)/.build/release/escra-runc scripts/swift test
	@.build/release/simulate --seeds $(or $(SEEDS),300) --large $(or $(LARGE),5000)

e2e: deps tools ## Run real containers under escra-runc (needs root)
	@scripts/deps-runtimes >/dev/null
	@scripts/e2e

acceptance: deps tools ## Run the ten acceptance tests of an operator's day, and print their table
	@scripts/deps-runtimes --jdks >/dev/null
	@scripts/acceptance

e2e-containerd2: deps tools ## Run what is about containerd with that of Debian sid (needs root)
	@ESCRA_E2E_PATH=$$(scripts/deps-containerd) scripts/e2e -n 2 --dist loadfile \
	  Tests/e2e/cases/test_{containerd,docs,pods,setup,way_out}.py \
	  -k "pods or containerd or pod or kubernetes"

chaos: deps build ## Kill and stop at random, 5 minutes (SECONDS=, CONTAINERS=, APPS=, ESCRA_SEED=)
	@ESCRA_CHAOS_SECONDS=$(or $(SECONDS),300) ESCRA_CHAOS_CONTAINERS=$(or $(CONTAINERS),40) \
	  ESCRA_CHAOS_APPS=$(or $(APPS),10) ESCRA_SEED=$(ESCRA_SEED) \
	  scripts/e2e Tests/e2e/cases/test_chaos.py -s -k no_death

chaos-nodes: deps tools ## Lose links, engines, agents and brokers of nodes (SECONDS=, ROUNDS=)
	@ESCRA_CHAOS_NODES_SECONDS=$(or $(SECONDS),300) ESCRA_CHAOS_NODES_ROUNDS=$(or $(ROUNDS),10) \
	  scripts/chaos-nodes

e2e-v2: deps tools ## Run it in emulated machines, cgroup v2 and systemd (CASES=all, SESSIONS=)
	@scripts/deps-machine
	@scripts/deps-runtimes >/dev/null
	@Tests/e2e/machine/machine suite $(if $(filter all,$(CASES)),--all) $(SESSIONS)

bpf: deps ## Compile the programs in the scheduler into their skeleton
	@scripts/bpf

simulate: tools ## Run applications in virtual time against any delay and death (SEEDS=20000)
	@.build/release/simulate --seeds $(or $(SEEDS),20000) --large $(or $(LARGE),10000)

simulate-nodes: tools ## Run nodes that share a limit in virtual time (SEEDS=1000, LARGE=1000)
	@.build/release/simulate-nodes --seeds $(or $(SEEDS),1000) --middle $(or $(SEEDS),1000) \
	  --large $(or $(LARGE),1000) --large-seeds 3
	@.build/release/simulate-nodes --seeds 30000 --without all

shrink-race: deps tools ## Shrink limits of growing containers, 10,000 times (needs root, ROUNDS=)
	@ESCRA_SHRINKS=$(or $(ROUNDS),10000) \
	  scripts/e2e Tests/e2e/cases/test_shrink_race.py -s -k not_killed

fuzz: deps ## Give decoders of frames any bytes, a minute, and readers of histories a million files
	@scripts/fuzz

model: ## Check the model of the negotiation in docs/model with spin, every interleaving
	@scripts/model

demo: build ## Run the same requests under a static limit and under reactive (needs root)
	@scripts/deps demo
	@.build/release/escra demo

demo-svg: build ## Record escra demo for docs/demo.svg, on an idle machine (needs root)
	@PATH="$(CURDIR)/.build/release:$$PATH" scripts/screencast record .build/demo.cast escra demo
	@scripts/screencast draw .build/demo.cast docs/demo.svg

house: ## Print the state of the house: lines, arrows, files too large, kernel file names
	@scripts/house

check: deps ## Format, warnings, documentation, scripts, house rules
	@scripts/check

bench: deps build ## Measure everything we claim, runc in alternation (needs root)
	@Benchmarks/run

bench-burst: deps build ## Measure bursts under every kind of limit, 20 minutes (needs root)
	@Benchmarks/run --only burst --markdown

bench-requests: deps build ## Measure requests whose limit is ample, 5 minutes (needs root)
	@Benchmarks/run --only requests --markdown

bench-switch: deps build ## Measure context switches beside 1000 containers (needs root)
	@Benchmarks/run --only switch --markdown

bench-memory: deps build ## Measure memory limits alone, 12 minutes (needs root, ROUNDS=)
	@ESCRA_BENCH_MEMORY=$(ROUNDS) Benchmarks/run --only memory

bench-memory-v2: tools ## The same in an emulated machine with cgroup v2: ratios, not times
	@scripts/bench-memory-v2

bench-app: deps build ## Measure an application under every kind of limit, 25 minutes (needs root)
	@ESCRA_BENCH_APP=$(or $(ROUNDS),3),$(or $(SECONDS),10) \
	  Benchmarks/run --only app --markdown

docs: deps ## Write the DocC archive of the libraries to docs-out/
	@scripts/docs

fmt: ## Format the Swift sources in place
	@swift format -i -r Sources Tests Tools Package.swift

deb: build ## Make a Debian package in .build/package (REVISION=, MAINTAINER=)
	@scripts/package deb

tarball: build ## Make a tarball of a prefix in .build/package
	@scripts/package tarball

package-test: deps build ## Install, upgrade and remove the package in fresh Debians (needs root)
	@scripts/package-test

install: build ## Install under PREFIX (/usr/local), DESTDIR before it
	@scripts/install

uninstall: ## Remove what install put there; leaves a pass-through where it is in use
	@scripts/uninstall

clean: ## Remove everything that was built
	rm -rf .build docs-out Benchmarks/.work
