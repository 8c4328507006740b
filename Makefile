# Everything a checkout needs: `make demo` to see it work, `make test` to trust it. What is downloaded or built for that lies in a
# cache outside of the checkout (e2e/setup.sh); as root, packages that Debian or Ubuntu lack are installed. Rust comes by rustup (rust-toolchain.toml).
.DEFAULT_GOAL := help
.PHONY: e2e test-operator help build release fmt lint fmt-check clippy docs dependencies deny generated test test-rust test-e2e \
	e2e-cluster charts images generate demo bench clean

CARGO := cargo
LOCKED := --locked

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## vdt, vdt-sidecar and kubectl-vt, for development
	$(CARGO) build $(LOCKED) --bin vdt --bin vdt-sidecar --bin kubectl-vt

release: ## the same, optimised, and what the benchmarks need: target/release
	$(CARGO) build $(LOCKED) --release --bin vdt --bin vdt-sidecar --bin kubectl-vt --bin vdt-load --bin vdt-tiers

fmt: ## format the code
	$(CARGO) fmt --all

lint: fmt-check clippy docs dependencies deny generated ## formatting, clippy, docs, dependency rules, licences

fmt-check:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --workspace --no-deps --document-private-items

dependencies:
	.ci/dependency-rules.sh

# Licences, bans and sources are told by the crates themselves, those of other platforms too: they are fetched. Advisories are
# checked where their database has been fetched (`cargo deny fetch`).
deny:
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
		if [ "$$CI" = true ]; then echo "deny: cargo-deny is missing and CI=true needs it"; exit 1; fi; \
		echo "deny: skipped, cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	else \
		$(CARGO) fetch $(LOCKED) || exit 1; \
		$(CARGO) deny $(LOCKED) --offline check licenses bans sources || exit 1; \
		if ls -d "$${CARGO_HOME:-$$HOME/.cargo}"/advisory-db*/* >/dev/null 2>&1; then \
			$(CARGO) deny $(LOCKED) --offline check advisories || exit 1; \
		else echo "deny: no advisory database here (cargo deny fetch): advisories not checked"; fi; \
	fi

generate: ## what is made from other files and committed: the chart's README and copies
	charts/generate.py

generated:
	charts/generate.py --check

test: test-rust test-e2e ## Rust, real clients, kill -9, bad input; those of the chart and the operator are `charts` and `e2e`

test-rust: ## the tests of the crates, those of the S3 source against a real S3 service
	$$(e2e/setup.sh all | tail -n 1) e2e/with_seaweed.py $(CARGO) test $(LOCKED) --workspace

test-e2e: build ## real clients against the real binary, and what the tests stand on
	VDT="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/debug/vdt" e2e/test.sh

charts: ## the chart without a cluster: goldens, refusals, linters of all that is rendered
	$(CARGO) build $(LOCKED) --bin vdt-operator
	charts/test.sh
	VDT_OPERATOR="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/debug/vdt-operator" charts/lint.sh

test-operator: ## the operator against a real API server without nodes
	e2e/operator/test.sh

e2e-cluster: ## the operator and the chart on a real Kubernetes on this machine (root)
	e2e/cluster/test.sh

e2e: ## all of the operator, side by side: without nodes, and on two clusters that are brought up and taken down
	setpriv --pdeathsig TERM e2e/all.sh

images: ## OCI archives of server, sidecar and operator: target/images
	image/build.py $(IMAGES_FLAGS)

demo: ## sample PDFs, served and queried with DuckDB
	e2e/demo.sh

bench: release ## the numbers of docs/benchmarks.md
	e2e/bench/run.sh

clean: ## what was built
	$(CARGO) clean
