# Common tasks. Each target runs scripts, which you can also run directly.

PG_CONFIG ?= 15

.PHONY: help setup build install installcheck package test release-check release soak fuzz assertions miri lint docs reference screenshots demo demo-rotate demo-stop bench clean

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

package: ## Builds the tarball, the Debian package and what else is published
	@scripts/setup build
	@scripts/package $(PG_CONFIG)

installcheck: ## Tests the extension on a running server: PGHOST, PGPORT, PGUSER
	@scripts/installcheck all $(PG_CONFIG)

test: ## Runs all tests on PostgreSQL 15 and 18, and many on 16 and 17
	@scripts/setup test
	@tests/run

release-check: ## Tests the upgrade from the last release, with its library
	@scripts/setup test
	@scripts/release-check $(PG_CONFIG)

release: ## Releases this version and begins the next one: NEXT=0.3.0
	@scripts/release $(NEXT)

soak: ## Runs the tests that take hours: large tables, random lives and input, crashes, failovers
	@scripts/setup test
	@scripts/setup fuzz
	@scripts/setup assertions
	@scripts/setup miri
	@scripts/soak $(if $(CONTINUE),--continue) $(PG_CONFIG)

fuzz: ## Looks for inputs that break a parser: FUZZ_SECONDS=600 for each
	@scripts/setup fuzz
	@scripts/fuzz

assertions: ## Tests memory safety on a PostgreSQL that is built with assertions
	@scripts/setup test
	@scripts/setup assertions
	@scripts/assertions

miri: ## Looks for undefined behaviour in the crates that parsers call: MIRI_SECONDS=60 for each test
	@scripts/setup miri
	@scripts/miri

lint: ## Checks formatting, clippy, imports, versions, scripts and spelling
	@scripts/setup lint
	@scripts/lint

docs: ## Builds the site in target/site, and renders the diagrams in docs
	@scripts/setup docs
	@scripts/docs
	@scripts/site

reference: ## Writes docs/reference.md from the comments in sql, on a throwaway server
	@scripts/setup demo
	@scripts/install --profile dev $(PG_CONFIG)
	@scripts/cluster run target/reference --pg-config $(PG_CONFIG) -- sh -c \
		'psql --quiet --command "CREATE EXTENSION totp" postgres && scripts/reference postgres' >target/reference.md
	@cp target/reference.md docs/reference.md

screenshots: ## Takes the pictures in docs/images
	@scripts/setup test
	@scripts/install --profile dev 18
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
