# Each target is a short script in scripts/, which can be called by itself.
.DEFAULT_GOAL := help
.PHONY: help demo test setup build check fmt test-native test-wasm test-e2e bench bench-browser clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: ## install what is missing, build, start the server, print the demo's URL
	@scripts/demo

test: ## install what is missing, then run every check and test
	@scripts/test

setup: ## install what is missing
	@scripts/setup

build: ## the npm package in pkg/ and the demo site
	@scripts/build-wasm

check: ## formatting and lints
	@scripts/check

fmt: ## format the code
	@cargo fmt --all

test-native: ## native tests and the examples in the documentation
	@scripts/test-native

test-wasm: ## tests in headless Chrome, in pages and in service workers; of the storage in Firefox too
	@scripts/test-wasm

test-e2e: ## conformance with the real cr-sqlite, and the whole system in browsers
	@scripts/test-e2e

bench: ## benchmarks
	@scripts/bench

bench-browser: build ## figures in Chromium, beside the original cr-sqlite
	@scripts/bench-browser

clean: ## remove what was built, keep installed tools
	@rm -rf target pkg dist
