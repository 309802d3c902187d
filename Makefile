# make test and make demo set up what they need from nothing: a virtual environment in .venv, and the system's rendering
# libraries where that is allowed. PYTEST adds arguments to the tests: make test PYTEST="-k contract"
# Tests run in two processes of one computing thread each; make test PYTEST="-n 0" runs them one after the other.

# Without files of bytecode, every process compiles all libraries anew: half of what the tests take.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup test test-fast test-grid test-trajectories test-simulators test-cluster lint demo docs clean

help:
	@echo "make setup   the environment, in .venv"
	@echo "make test    lint, types, import contract, tests"
	@echo "make test-fast   all but the tests that take more than about a second each, without lint: less than three minutes"
	@echo "make test-grid   every combination of the stock parts, beyond those of make test: about ten minutes"
	@echo "make test-trajectories   short trainings against the released loop of Seer: about five minutes"
	@echo "make test-simulators   the simulators that forehand env make has made: several minutes"
	@echo "make test-cluster   sweeps by submitit, joblib and Ray, and preempted jobs, in an environment of its own: several minutes"
	@echo "make demo    record, train, serve, drive, judge: less than ten minutes, then open outputs/demo/index.html"
	@echo "make docs    the documentation as a site, in outputs/site"
	@echo "make clean   remove .venv and caches; outputs stay"

setup: $(READY)

$(READY): pyproject.toml constraints.txt tools/setup.sh
	bash tools/setup.sh
	@touch $@

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not grid and not trajectory and not simulator and not cluster" $(PYTEST)

test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not grid and not trajectory and not simulator and not cluster" $(PYTEST)

test-grid: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m grid tests/plugins/test_grid.py $(PYTEST)

test-trajectories: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m trajectory tests/seer_plugin/test_trajectories.py $(PYTEST)

test-simulators: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 -m simulator tests/libero tests/calvin tests/metaworld tests/seer_plugin/test_traces.py $(PYTEST)

# Ray's launcher needs older versions of some packages than those of constraints.txt.
CLUSTER := .venv-cluster
UV = $(shell command -v uv || echo $(BIN)/uv)

$(CLUSTER)/.ready: $(READY)
	$(UV) venv --clear --quiet --python $(BIN)/python $(CLUSTER)
	grep -vE '^(cloudpickle|joblib|python-dateutil)==' constraints.txt > $(CLUSTER)/constraints.txt
	$(UV) pip install --quiet --python $(CLUSTER)/bin/python --constraint $(CLUSTER)/constraints.txt --editable '.[dev,ray]'
	@touch $@

test-cluster: $(CLUSTER)/.ready
	OMP_NUM_THREADS=1 $(CLUSTER)/bin/python -m pytest -n 0 -m cluster tests/apps/test_cluster.py $(PYTEST)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup
	$(BIN)/forehand demo

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .venv-cluster .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
