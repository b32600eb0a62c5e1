# SPDX-License-Identifier: Apache-2.0
# Every target is a line or two; the work is in swift, pytest and scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help bpf deps build test unit e2e e2e-v2 simulate fuzz model demo check bench bench-burst
.PHONY: bench-requests bench-switch bench-memory bench-memory-v2 bench-app chaos docs fmt install
.PHONY: shrink-race uninstall clean

PREFIX ?= /usr/local
DESTDIR ?=
export PREFIX DESTDIR FORCE

help: ## Say what can be made (this text)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

deps: ## Install by apt what is missing: engines, runc, libraries, pytest
	@scripts/deps

build: deps ## Build escra-runc and escra, static, into .build/release
	@scripts/swift build -c release

test: unit e2e ## Run the unit tests, then the end-to-end suite (needs root)

unit: build
	@ESCRA_RUNC_BINARY=$(CURDIR)/.build/release/escra-runc scripts/swift test
	@.build/release/simulate --seeds $(or $(SEEDS),1000) --large $(or $(LARGE),10000)

e2e: build ## Run real containers under escra-runc (needs root)
	@scripts/e2e

chaos: build ## Kill and stop at random, 5 minutes (SECONDS=, CONTAINERS=, APPS=, ESCRA_SEED=)
	@ESCRA_CHAOS_SECONDS=$(or $(SECONDS),300) ESCRA_CHAOS_CONTAINERS=$(or $(CONTAINERS),40) \
	  ESCRA_CHAOS_APPS=$(or $(APPS),10) ESCRA_SEED=$(ESCRA_SEED) \
	  scripts/e2e Tests/e2e/test_chaos.py -s -k no_death

e2e-v2: build ## Run it in emulated machines with cgroup v2 and systemd (CASES=all: whole)
	@scripts/deps-machine
	@Tests/e2e/machine/machine suite $(if $(filter all,$(CASES)),--all)

bpf: deps ## Compile the programs in the scheduler into their skeleton
	@scripts/bpf

simulate: build ## Run applications in virtual time against any delay and death (SEEDS=20000)
	@.build/release/simulate --seeds $(or $(SEEDS),20000) --large $(or $(LARGE),10000)

shrink-race: build ## Give memory back under who grows then, 10,000 times (needs root, ROUNDS=)
	@ESCRA_SHRINKS=$(or $(ROUNDS),10000) scripts/e2e Tests/e2e/test_shrink_race.py -s -k not_killed

fuzz: deps ## Give the decoders of frames and the readers of histories any bytes, a minute each
	@scripts/fuzz

model: ## Check the model of the negotiation in docs/model with spin, every interleaving
	@scripts/model

demo: build ## Watch a container's CPU limit follow its use (needs root)
	@scripts/demo

check: deps ## Format, warnings, documentation, scripts, house rules
	@scripts/check

bench: build ## Measure everything we claim, runc in alternation (needs root)
	@Benchmarks/run

bench-burst: build ## Measure bursts under every kind of limit, 20 minutes (needs root)
	@Benchmarks/run --only burst --markdown

bench-requests: build ## Measure requests whose limit is ample, 5 minutes (needs root)
	@Benchmarks/run --only requests --markdown

bench-switch: build ## Measure context switches beside 1000 containers (needs root)
	@Benchmarks/run --only switch --markdown

bench-memory: build ## Measure memory limits alone, 12 minutes (needs root, ROUNDS=)
	@ESCRA_BENCH_MEMORY=$(ROUNDS) Benchmarks/run --only memory

bench-memory-v2: build ## The same in an emulated machine with cgroup v2: ratios, not times
	@scripts/bench-memory-v2

bench-app: build ## Measure an application under every kind of limit, 25 minutes (needs root)
	@ESCRA_BENCH_APP=$(or $(ROUNDS),3),$(or $(SECONDS),10) \
	  Benchmarks/run --only app --markdown

docs: deps ## Write the DocC archive of the libraries to docs-out/
	@scripts/docs

fmt: ## Format the Swift sources in place
	@swift format -i -r Sources Tests Package.swift

install: build ## Install under PREFIX (/usr/local), DESTDIR before it
	@scripts/install

uninstall: ## Remove what install put there; refuses while it is in use
	@scripts/uninstall

clean: ## Remove everything that was built
	rm -rf .build docs-out Benchmarks/.work
