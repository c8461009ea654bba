# Konclave's tasks. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
# Where Cargo puts programs; `target/` unless CARGO_TARGET_DIR says otherwise.
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Settings of `make demo`.
DATA ?=
SITES ?= 6
ROUNDS ?= 10
SEED ?= 1
KEEP ?=
# Of `make quality`, which takes DATA, SITES and ROUNDS too.
SEEDS ?= 5
# Of `make simulate`.
SECONDS ?= 3600
# Of `make scale`, which takes SITES too.
COORDINATES ?= 1000000
DROPOUTS ?= 10
# Of `make torture`.
KILLS ?= 200
CUTS ?= 5000
FLIPS ?= 6000
# Of `make test-api`: requests for each operation and role.
EXAMPLES ?=
# Of `make test-upload`.
UPLOAD_BYTES ?= 2147483648
# Of `make mutants`, ids of scripts/mutants/; of `make fuzz`, crates or CRATE/TARGET; of `make bench-api`, a part of a name.
ONLY ?=
# Of `make bench-audit`.
ENTRIES ?= 1000000
# And of `make bench`, `make bench-api` and `make bench-ledger`. Flower 1.42 asks for Python 3.10 to 3.13.
BENCH ?= default
PEER ?=
PEER_PYTHON ?= python3.12

.PHONY: help setup build demo quality test test-rust test-api test-contract test-second test-upload torture mutants simulate vectors schemas faults scale fuzz lint lint-quick arrows lint-deny bench bench-api bench-ledger bench-audit audit-static openapi examples release-openapi clean distclean

help: ## List the tasks
	@echo 'make TASK, where TASK is one of:'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/' | expand -t 14 | sed 's/^/  /'

setup: ## Check the tools, fetch libtorch (543 MB, once) and the demonstration's data
	@scripts/check_tools.sh '$(CARGO)' '$(PYTHON)'
	@$(PYTHON) scripts/fetch_libtorch.py
	@$(PYTHON) scripts/demo_data.py

build: setup ## Build the release programs into target/release/
	$(CARGO) build --release --locked --bins

demo: build ## Six sites train one model: [DATA=FILE.csv] [SITES=6] [ROUNDS=10] [SEED=1] [KEEP=1]
	@'$(TARGET)/release/konclave-demo' run --out target/demo --sites '$(SITES)' --rounds '$(ROUNDS)' --seed '$(SEED)' \
		$(if $(DATA),--data '$(DATA)') $(if $(filter-out 0 no false,$(KEEP)),--keep)

quality: build ## Model quality with the encoding and with plain float averaging: [SEEDS=5] [SITES=6] [ROUNDS=10] [DATA=FILE.csv]
	@'$(TARGET)/release/konclave-demo' quality --out target/quality --seeds '$(SEEDS)' --sites '$(SITES)' \
		--rounds '$(ROUNDS)' $(if $(DATA),--data '$(DATA)')

# Always the whole workspace: with fewer packages Cargo would choose other features and build dependencies anew. The
# programs that the tests start are built with the tests.
test: test-rust test-api test-second ## Run every test

test-rust: setup ## Run the Rust tests, end-to-end ones included
	$(CARGO) test --locked --workspace

test-api: setup test-contract ## Lint openapi.json, try all it says with generated requests; run jobs by generated clients, and the partner guide, on a live gateway: [EXAMPLES=4] [SEED=1]
	@$(PYTHON) scripts/api_client.py
	@$(PYTHON) scripts/ts_client.py
	@$(PYTHON) scripts/schemathesis_run.py --install-only
	$(CARGO) test --locked --workspace --no-run
	$(CARGO) test --locked --workspace --test end_to_end -- --ignored api_clients::
	EXAMPLES='$(EXAMPLES)' SEED='$(SEED)' $(CARGO) test --locked --workspace --test end_to_end -- --ignored --nocapture schemathesis::

test-contract: ## Lint openapi.json and its examples (brings its own Node.js), and look for breaks since the last release
	@$(PYTHON) scripts/contract_lint.py
	@$(PYTHON) scripts/openapi_diff_test.py
	@$(PYTHON) scripts/openapi_diff.py

simulate: ## Simulate jobs with faults and attacks: [SECONDS=3600] [SEED=1]
	SECONDS='$(SECONDS)' SEED='$(SEED)' $(CARGO) test --locked --release -p konclave-crypto --test simulation -- \
		--ignored --nocapture long_run

torture: setup ## Kill, cut the power of, fill up and flip bits under the ledger, many times: [KILLS=200] [CUTS=5000] [FLIPS=6000] [SEED=1]
	KONCLAVE_KILL_ROUNDS='$(KILLS)' KONCLAVE_CUT_ROUNDS='$(CUTS)' KONCLAVE_FLIPS='$(FLIPS)' KONCLAVE_TORTURE_SEED='$(SEED)' \
		$(CARGO) test --release --locked -p konclave-ledger --test kill --test power --test flips --test disk_full --test faults \
		--test fault_table -- --include-ignored --skip write_the_table --skip on_a_small_disk --nocapture --test-threads=1
	KONCLAVE_KILL_ROUNDS='$(KILLS)' $(CARGO) test --locked --workspace --test end_to_end -- --nocapture gateway_kills::

scale: setup ## One round over HTTP among many sites: [SITES=100] [COORDINATES=1000000] [DROPOUTS=10]
	$(CARGO) build --release --locked --bins
	SITES='$(if $(filter command line,$(origin SITES)),$(SITES),100)' COORDINATES='$(COORDINATES)' DROPOUTS='$(DROPOUTS)' \
		$(CARGO) test --release --locked --workspace --test end_to_end -- --ignored --nocapture scale::

test-second: setup ## Let a second client, in Python, take part in a job beside Rust sites
	@$(PYTHON) scripts/second_client.py
	$(CARGO) test --locked --workspace --no-run
	$(CARGO) test --locked --workspace --test end_to_end -- --ignored second_client::

# Disk: the file, the blob, and what the release programs take.
test-upload: setup ## Kill a client and the gateway while a model of 2 GiB is uploaded: [UPLOAD_BYTES=2147483648], needs 5 GB of disk
	$(CARGO) build --release --locked --bins
	KONCLAVE_UPLOAD_BYTES='$(UPLOAD_BYTES)' $(CARGO) test --release --locked --workspace --test end_to_end -- --nocapture big_upload::

mutants: setup ## Remove each check against an attack, one at a time, and see its tests fail: [ONLY=id]
	$(PYTHON) scripts/check_mutants.py $(ONLY)

vectors: ## Write crypto/vectors/ and ledger/vectors/ anew after a change of the wire formats
	@$(PYTHON) scripts/second_client.py --install-only
	PYTHONPATH=third_party/second-client/packages $(PYTHON) crypto/vectors/generate.py
	$(CARGO) test --locked -p konclave-crypto --test vectors -- --ignored write
	$(PYTHON) ledger/vectors/generate.py

schemas: ## Write ledger/schemas/ anew after a change of the records
	$(CARGO) test --locked --workspace --test schemas -- --ignored write

faults: ## Write docs/ledger-faults.md anew after a change of how the ledger stores
	$(CARGO) test --locked --workspace --test fault_table -- --ignored write_the_table

fuzz: ## Run the fuzz targets for SECONDS each, on the stable compiler: [SECONDS=60] [ONLY='ledger crypto/setup']
	@scripts/fuzz.sh '$(CARGO)' '$(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)' $(ONLY)

lint-quick: ## Formatting, dependency arrows, breaks of the API, that SECURITY.md names tests that exist, and that their checks can be removed
	$(CARGO) fmt --all -- --check
	@$(PYTHON) scripts/check_arrows.py
	@$(PYTHON) scripts/check_attack_tests.py
	@$(PYTHON) scripts/check_mutants.py --dry
	@$(PYTHON) scripts/openapi_diff_test.py
	@$(PYTHON) scripts/openapi_diff.py

lint: lint-quick ## All of that, clippy and the docs without warnings, and the dependencies' licences
	@$(PYTHON) scripts/fetch_libtorch.py
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps
	@$(MAKE) --no-print-directory lint-deny

arrows: ## Check which crate uses which
	@$(PYTHON) scripts/check_arrows.py

lint-deny: ## Check licences, sources and bans of dependencies; advisories when their database can be reached
	@scripts/deny.sh '$(CARGO)'

bench: ## Masking, unmasking and tags against their floors, one table: [BENCH=full|profile] [PEER=flower]
	BENCH='$(BENCH)' BENCH_OUT='$(CURDIR)/target/bench' $(CARGO) bench --locked -p konclave-crypto --bench speed
ifeq ($(PEER),flower)
	@scripts/bench_flower.sh '$(PEER_PYTHON)'
endif

bench-api: setup ## Requests a second over mTLS beside a server that answers a constant: [BENCH=full|profile] [ONLY='GET /v1']
	$(CARGO) build --release --locked --workspace --bins --example constant
	@BENCH='$(BENCH)' $(PYTHON) scripts/bench_api.py --bin '$(TARGET)/release' --only '$(ONLY)'

bench-audit: ## Verifying a million entries against SHA-256 alone, and its memory: [ENTRIES=1000000]
	ENTRIES='$(ENTRIES)' $(CARGO) bench --locked -p konclave-audit --bench verify

# ring's C code needs a compiler for musl's target, not musl itself: it uses no library but for memcpy and the like, and
# Rust brings musl with the target. What glibc's headers would add by themselves (fortified calls) is switched off.
audit-static: ## Build konclave-audit as one static program for any Linux on x86-64, and try it
	rustup target add x86_64-unknown-linux-musl
	CC_x86_64_unknown_linux_musl='$(or $(CC),gcc)' \
	CFLAGS_x86_64_unknown_linux_musl='-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0 -fno-stack-protector' \
		$(CARGO) build --locked --release -p konclave-audit --target x86_64-unknown-linux-musl
	@scripts/check_static.sh '$(TARGET)/x86_64-unknown-linux-musl/release/konclave-audit'

bench-ledger: ## Appending, verifying and proving against their floors, and their memory: [BENCH=full|profile]
	$(CARGO) build --locked --release -p konclave-audit
	BENCH='$(BENCH)' BENCH_OUT='$(CURDIR)/target/bench' AUDIT='$(abspath $(TARGET))/release/konclave-audit' \
		$(CARGO) bench --locked -p konclave-ledger --bench speed

openapi: setup ## Write openapi/openapi.json anew from the gateway's routes
	$(CARGO) build --locked -p konclave-gateway
	@mkdir -p target
	'$(TARGET)/debug/konclave-gateway' openapi > target/openapi.json.new
	mv target/openapi.json.new openapi/openapi.json

examples: setup ## Write openapi/src/examples/ anew from a played job, and openapi.json with them
	$(CARGO) test --locked --workspace --test rounds -- --ignored examples::
	@$(MAKE) --no-print-directory openapi

release-openapi: ## Keep openapi.json as what later versions must not break: openapi/released/VERSION.json
	@$(PYTHON) scripts/openapi_diff.py --release

clean: ## Remove all that was built; third_party/ stays
	$(CARGO) clean

distclean: clean ## Remove third_party/ too (libtorch is downloaded again by the next `make setup`)
	rm -rf third_party
