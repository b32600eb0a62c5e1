# SPDX-License-Identifier: Apache-2.0
# Every target is a line or two; the work is in swift, pytest and scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help deps build test unit e2e e2e-v2 demo check bench bench-memory docs fmt install
.PHONY: uninstall clean

PREFIX ?= /usr/local
DESTDIR ?=
export PREFIX DESTDIR FORCE

help: ## Say what can be made (this text)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

deps: ## Install by apt what is missing: engines, runc, libraries, pytest
	@scripts/deps

build: deps ## Build escra-runc and escra, static, into .build/release
	@scripts/swift build -c release

test: unit e2e ## Run the unit tests, then the end-to-end suite (needs root)

unit: build
	@ESCRA_RUNC_BINARY=$(CURDIR)/.build/release/escra-runc scripts/swift test

e2e: build ## Run real containers under escra-runc (needs root)
	@scripts/e2e

e2e-v2: build ## Run it in emulated machines with cgroup v2 and systemd (CASES=all: whole)
	@scripts/deps-machine
	@Tests/e2e/machine/machine suite $(if $(filter all,$(CASES)),--all)

demo: build ## Watch a container's CPU limit follow its use (needs root)
	@scripts/demo

check: deps ## Format, warnings, documentation, scripts, house rules
	@scripts/check

bench: build ## Measure everything we claim, runc in alternation (needs root)
	@Benchmarks/run

bench-memory: build ## Measure memory limits alone (needs root)
	@Benchmarks/run --only memory

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
