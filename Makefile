# Three commands do everything: `make demo`, `make test`, `make dev`. The environment they make is .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test dev check format campaign lock clean

help:
	@echo "make demo      the main job, end to end, on this machine"
	@echo "make test      the checks and all tests"
	@echo "make dev       the Dagster UI on the same sandbox"
	@echo "make check     lint, types and doors only"
	@echo "make campaign  long randomised runs with printed seeds"

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@echo "Making .venv from requirements.lock (about two minutes the first time)…"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	$(BIN)/d4c demo

test: check
	$(BIN)/pytest -m "not campaign" -n 2 --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dev: $(STAMP)
	$(BIN)/d4c dev

campaign: $(STAMP)
	$(BIN)/pytest -m campaign -s --timeout 7200

lock:
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-annotate -q -o requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv .sandbox .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
