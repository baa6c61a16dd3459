# Everything a fresh machine with rustup, Node and a C compiler needs: `make demo` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup plugins build demo test bench fuzz chaos lint deny clean

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# PROFILE=release builds what one would ship; the default is quicker to build and shared with the tests.
PROFILE ?= dev
PROFILE_DIR := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
OUT := $(TARGET_DIR)/$(PROFILE_DIR)
WASM := wasm32-wasip2

# A plugin is a folder with a Cargo.toml: plugins/<name> is bundled, plugins/demo/<name> misbehaves for the demo.
BUNDLED := $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))
HOSTILE := $(patsubst %/Cargo.toml,%,$(wildcard plugins/demo/*/Cargo.toml))
# Further guests that only tests use.
GUESTS := $(patsubst %/Cargo.toml,%,$(wildcard tests/guests/*/Cargo.toml) $(wildcard examples/*-plugin/Cargo.toml))

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: ## Add the WebAssembly target to the pinned toolchain
	@libdir="$$(rustc --print target-libdir --target $(WASM))"; \
	if [ ! -d "$$libdir" ] && ! rustup target add $(WASM); then \
		echo >&2; \
		echo "The plugins need the Rust target $(WASM), and it could not be added." >&2; \
		echo "  - Without rustup: install it from https://rustup.rs, then run this again." >&2; \
		echo "  - Without internet: download rust-std for $(WASM) and Rust $$(rustc --version | cut -d' ' -f2)" >&2; \
		echo "    from https://static.rust-lang.org/dist/ elsewhere and unpack it into" >&2; \
		echo "    $$(rustc --print sysroot)." >&2; \
		exit 1; \
	fi

plugins: setup ## Build all plugins to WebAssembly and put them beside the hub
	@packages=(); \
	for folder in $(BUNDLED) $(HOSTILE) $(GUESTS); do \
		packages+=(-p "$$(sed -n '/^\[package\]/,/^\[/s/^name *= *"\(.*\)"/\1/p' $$folder/Cargo.toml)"); \
	done; \
	if [ $${#packages[@]} -gt 0 ]; then \
		$(CARGO) build --profile plugin --target $(WASM) "$${packages[@]}"; \
	fi
	@$(call place,$(BUNDLED),$(OUT)/plugins)
	@$(call place,$(HOSTILE),$(OUT)/plugins/demo)

# Copies the components of the folders $(1) to $(2), named after their folders. A component's own file is named after
# the library, or else after the package. A file is replaced in one step, since a hub may be reading it, and what no
# longer has a folder is removed.
define place
mkdir -p $(2); rm -f $(2)/*.wasm.new; wanted=" "; \
for folder in $(1); do \
	name="$$(basename $$folder)"; wanted+="$$name.wasm "; \
	built="$$(sed -n '/^\[lib\]/,/^\[/s/^name *= *"\(.*\)"/\1/p' $$folder/Cargo.toml)"; \
	[ -n "$$built" ] || built="$$(sed -n '/^\[package\]/,/^\[/s/^name *= *"\(.*\)"/\1/p' $$folder/Cargo.toml)"; \
	cp $(TARGET_DIR)/$(WASM)/plugin/"$${built//-/_}".wasm $(2)/$$name.wasm.new; \
	mv $(2)/$$name.wasm.new $(2)/$$name.wasm; \
done; \
for file in $(2)/*.wasm; do \
	if [ -e "$$file" ] && [[ "$$wanted" != *" $$(basename $$file) "* ]]; then rm "$$file"; fi; \
done
endef

build: plugins ## Build the hub and its plugins
	$(CARGO) build --workspace --profile $(PROFILE)

demo: build ## Play the story; ONCE=1 ends after it, with its result as exit code
	$(OUT)/switchyard demo $(if $(ONCE),--once)

# PostgreSQL and RabbitMQ are used where they run already, else started for the time of the tests.
test: build ## Check the format, build everything, run every test
	$(CARGO) fmt --all --check
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		tests/services.sh $(CARGO) nextest run --workspace --no-fail-fast --no-tests=pass && $(CARGO) test --workspace --doc; \
	else \
		tests/services.sh $(CARGO) test --workspace --no-fail-fast; \
	fi

# Figures mean something on what one would ship; the smoke check takes what the tests have built.
BENCH_PROFILE := $(if $(filter file,$(origin PROFILE)),$(if $(QUICK),dev,release),$(PROFILE))
BENCH_OUT := $(TARGET_DIR)/$(if $(filter dev,$(BENCH_PROFILE)),debug,$(BENCH_PROFILE))
BENCH_JSON ?= $(TARGET_DIR)/bench.json

bench: ## Measure the hub; QUICK=1 is a smoke check, ONLY=accept,burst selects, RUNS=5 repeats, POSTGRES=1 on PostgreSQL
	$(MAKE) --no-print-directory build PROFILE=$(BENCH_PROFILE)
	$(BENCH_OUT)/switchyard-bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) $(if $(POSTGRES),--postgres) \
		--json $(BENCH_JSON)

# Other inputs each time; a failure prints the input that caused it.
SECONDS ?= 15
fuzz: ## Feed every parser of outside bytes for SECONDS=15 each
	@export SWITCHYARD_FUZZ_SECONDS="$(SECONDS)" SWITCHYARD_FUZZ_SEED="$$(date +%s)"; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --no-fail-fast --test-threads "$$((3 * $$(nproc)))" -E 'test(/(^|::)fuzz_/)'; \
	else \
		$(CARGO) test --workspace --no-fail-fast -- fuzz_; \
	fi

chaos: build ## Random harm to a hub under load, checked; MINUTES=5 says how long, SEED= repeats a run, NODES=3 on PostgreSQL
	@MINUTES='$(MINUTES)' SEED='$(SEED)' NODES='$(NODES)' $(OUT)/chaos

lint: ## Clippy, every warning an error
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: ## Check dependencies: advisories, licences, bans, sources
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --workspace check; \
	else \
		echo "cargo-deny is not installed; \`cargo install --locked cargo-deny\` adds it" >&2; \
	fi

clean: ## Remove everything that was built
	$(CARGO) clean
