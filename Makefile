# Every target sets up what it needs: `make test` works in a fresh clone. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := $(shell command -v uv 2>/dev/null)

# Two workers: this suite waits on registries and disks as much as on the CPU. PYTEST_FLAGS= runs it in one process.
PYTEST_FLAGS ?= -n 2 --dist worksteal

.PHONY: help demo test check bench bench-delta peers-table docs campaign format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## the journey of one model: init, add, push, edit, status, diff, push, clone, pull, verify
	PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

test: $(READY) ## unit, contract, property, flow and shape tests; registries and peers where they are installed
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not bench" tests

check: $(READY) ## lint, format, types, layers, shape: all that needs no running program
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/shape

# BENCH="--quick no-op status" picks workloads and options (docs/benchmarks.md).
bench: $(READY) ## measure against the peers, side by side, into benchmarks/results.md
	$(BIN)/python -m benchmarks $(BENCH)

# BENCH="--quick last-layer rl-step" picks scenarios and options (docs/benchmarks.md).
bench-delta: $(READY) ## what a change costs to move, beside oras and Xet, into benchmarks/delta-results.md
	$(BIN)/python -m benchmarks.delta $(BENCH)

peers-table: $(READY) ## what the tools installed here do with the hostile artifacts and archives of our tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.support.peers_table

docs: $(READY) ## build the documentation into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

campaign: $(READY) ## the randomised campaigns at full size
	BUNDLE_CAMPAIGN=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m campaign tests

format: $(READY) ## rewrite the code the way `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## pin every dependency anew, for every platform (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## remove the environment and everything built
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find modelops_bundle tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The environment: exactly the lock file's packages, then this project itself, editable.
$(READY): pyproject.toml requirements.lock
	rm -rf $(VENV)
ifneq ($(UV),)
	$(UV) venv --quiet --python "$(PYTHON)" $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	touch $@
