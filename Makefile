# The commands of this project. `make` alone lists them.

CARGO ?= cargo
TOOLS := target/tools
# Twice the cores, since most tests wait for a program most of the time.
TEST_THREADS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
# One that is installed is used, else one is built into the target folder.
DENY := $(or $(shell command -v cargo-deny),$(TOOLS)/bin/cargo-deny)
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2

.PHONY: help run test browser soak fuzz check openapi bench web tools

help:
	@echo "make run      build and start the demo on http://127.0.0.1:8080"
	@echo "make test     run every test (installs PostgreSQL, Chromium and npm packages if they are missing)"
	@echo "make browser  run the journeys in a browser"
	@echo "make soak     run the long forms of the tests, which takes hours"
	@echo "make fuzz     feed arbitrary bytes to what reads them, 60 seconds for each target"
	@echo "make check    format, lints, licences, documentation, generated files"
	@echo "make openapi  write the API's document and the typed client again, after a change of routes"
	@echo "make bench    measure the access path, the fold of the log and questions about the past"
	@echo "make web      build the web assets"

run:
	$(CARGO) run --package server -- demo

# The program is built with the whole workspace, so with the places where tests kill it; `make run` builds it without.
test: tools
	$(CARGO) build --workspace --bin membership
	$(CARGO) nextest run --workspace --no-fail-fast --test-threads $(TEST_THREADS)
	npm test --silent --prefix web

# Journeys through the real program in Chromium. SCREENSHOTS=folder keeps pictures of what they see.
browser: tools
	$(CARGO) build --workspace --bin membership
	npm test --silent --prefix web --workspace browser-tests

# The long form of a test is in a module named `long`, ignored with the reason "long: make soak", and prints its figures.
# ONLY=crash runs those whose names contain that; CRASH_SEED and the like run one of them again as it was.
soak: tools
	$(CARGO) build --workspace --bin membership
	$(CARGO) nextest run --workspace --no-fail-fast --run-ignored only --no-capture \
	  --filterset 'test(/(^|::)long::/) & test(/$(ONLY)/)'

check: $(DENY)
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --quiet
	$(DENY) --offline check bans licenses sources
	$(CARGO) run --quiet --package server -- openapi | diff - docs/openapi.json
	@scripts/build-web
	npm run --silent check --prefix web

# What `check` compares: the document is made from the routes, the client from the document.
openapi:
	@scripts/build-web --packages-only
	$(CARGO) run --quiet --package server -- openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	npm run --silent generate --prefix web/api-client

# FUZZ_SECONDS=3600 runs each target for an hour, FUZZ_TARGETS="events tokens" only these.
fuzz: $(TOOLS)/bin/cargo-fuzz
	PATH="$(abspath $(TOOLS)/bin):$$PATH" scripts/fuzz

bench:
	$(CARGO) bench --package tests --bench access
	$(CARGO) bench --package tests --bench history

web:
	@scripts/build-web

tools:
	@scripts/install-tools

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --root $(TOOLS)

$(TOOLS)/bin/cargo-fuzz:
	$(CARGO) install cargo-fuzz --version $(FUZZ_VERSION) --locked --root $(TOOLS)
