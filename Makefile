# What one does here. Each target is a script, which can be called by itself.

PG_CONFIG ?= 15

.PHONY: help setup build install installcheck test lint docs demo demo-rotate demo-stop bench clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "PG_CONFIG=/path/to/pg_config chooses the PostgreSQL of build, install and installcheck."

setup: ## Installs what demo and test need
	@scripts/setup test

build: ## Builds the extension in release mode, as files to copy onto a server
	@scripts/setup build
	@scripts/package $(PG_CONFIG)

install: ## Builds the extension in release mode and installs it into a PostgreSQL
	@scripts/setup build
	@scripts/install --profile release $(PG_CONFIG)

installcheck: ## Tests the extension in a running server: PGHOST, PGPORT, PGUSER
	@scripts/installcheck all $(PG_CONFIG)

test: ## Runs every test, on PostgreSQL 15 and 18
	@scripts/setup test
	@tests/run

lint: ## Checks formatting, clippy, layers and scripts
	@scripts/setup lint
	@scripts/lint

docs: ## Renders the diagrams in docs as PDF
	@scripts/setup docs
	@scripts/docs

demo: ## Shows the main job on a throw-away cluster
	@scripts/demo run

demo-rotate: ## Shows a new encryption key while people log in
	@scripts/setup demo
	@scripts/demo-rotate

demo-stop: ## Removes that cluster
	@scripts/demo stop

bench: ## Measures
	@scripts/setup build
	@scripts/install --profile release 15
	@benches/run

clean: demo-stop ## Removes everything that was built
	rm -rf target
