# Common tasks. Each target runs scripts, which you can also run directly.

PG_CONFIG ?= 15

.PHONY: help setup build install installcheck test soak lint docs screenshots demo demo-rotate demo-stop bench clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "PG_CONFIG=/path/to/pg_config selects the PostgreSQL for build, install and installcheck."

setup: ## Installs everything that demo and test need
	@scripts/setup test

build: ## Builds the extension in release mode, as files to copy to a server
	@scripts/setup build
	@scripts/package $(PG_CONFIG)

install: ## Builds the extension in release mode and installs it
	@scripts/setup build
	@scripts/install --profile release $(PG_CONFIG)

installcheck: ## Tests the extension on a running server: PGHOST, PGPORT, PGUSER
	@scripts/installcheck all $(PG_CONFIG)

test: ## Runs all tests on PostgreSQL 15 and 18
	@scripts/setup test
	@tests/run

soak: ## Runs the tests that take minutes: large tables, random lives and input
	@scripts/setup test
	@scripts/soak $(PG_CONFIG)

lint: ## Checks formatting, clippy, imports, versions and scripts
	@scripts/setup lint
	@scripts/lint

docs: ## Renders the diagrams in docs as PDF
	@scripts/setup docs
	@scripts/docs

screenshots: ## Takes the pictures in docs/images
	@scripts/setup test
	@scripts/install --profile dev $(CURDIR)/target/postgresql-18/bin/pg_config
	@scripts/screenshots

demo: ## Enrols and verifies a user on a throwaway server
	@scripts/demo run

demo-rotate: ## Rotates the encryption key while users log in
	@scripts/setup demo
	@scripts/demo-rotate

demo-stop: ## Removes the demo's server
	@scripts/demo stop

bench: ## Compares the extension with hand-written SQL and django-totp
	@scripts/setup test
	@scripts/install --profile release 15
	@benches/run

clean: demo-stop ## Removes everything that was built
	rm -rf target
