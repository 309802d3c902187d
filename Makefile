# make test and make demo set up what they need from nothing: a virtual environment in .venv, and the system's rendering
# libraries where that is allowed. PYTEST adds arguments to the tests: make test PYTEST="-k contract"

BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup test lint demo clean

help:
	@echo "make setup   the environment, in .venv"
	@echo "make test    lint, types, import contract, tests"
	@echo "make demo    record, train, serve, drive, judge: about ten minutes, then open outputs/demo/index.html"
	@echo "make clean   remove .venv and caches; outputs stay"

setup: $(READY)

$(READY): pyproject.toml constraints.txt tools/setup.sh
	bash tools/setup.sh
	@touch $@

test: lint
	$(BIN)/python -m pytest $(PYTEST)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup
	$(BIN)/forehand demo

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
