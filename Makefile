# Every target sets up what it needs; a second call finds the set-up done. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
# Test processes. Each keeps to one torch thread, or they would fight over the cores.
WORKERS ?= auto --maxprocesses=4
PYTEST_ARGS ?=
CASES ?= 5000
SEED ?= 0
FUZZ_WORKERS ?= auto
SOAK_ARGS ?=
SPHINXOPTS ?= -W --keep-going

ifeq ($(OS),Windows_NT)
BIN := Scripts
else
BIN := bin
endif
PY := $(VENV)/$(BIN)/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := -m pytest -n $(WORKERS) --dist worksteal

# `make test-floors` keeps the torch of constraints.txt: on Linux x86-64 the package index has old torch only as CUDA
# builds of several GB. TORCH_FLOOR=1 takes the oldest torch too, wherever pip finds it.
FLOORS_VENV := .venv-floors$(if $(TORCH_FLOOR),-torch)
FLOORS_PY := $(FLOORS_VENV)/$(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-floors fuzz soak lint docs bench package clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.done-plot  ## run the quickstart example; its text and figures go to results/
	@$(PY) tools/run_example.py examples/plot_quickstart.py --output results

test: $(VENV)/.done-test  ## run the fast tests and the doctests
	$(ONE_THREAD) $(PY) $(PYTEST) $(PYTEST_ARGS)

test-slow: $(VENV)/.done-test  ## run the slow tests only
	$(ONE_THREAD) $(PY) $(PYTEST) -m slow $(PYTEST_ARGS)

test-floors: $(FLOORS_VENV)/.done  ## run the fast tests with the oldest supported dependencies (torch too with TORCH_FLOOR=1)
	@$(FLOORS_PY) -m pip list --disable-pip-version-check 2>/dev/null | grep -iE '^(numpy|pandas|scikit-learn|scipy|skorch|torch) '
	$(ONE_THREAD) $(FLOORS_PY) $(PYTEST) $(PYTEST_ARGS)

# Each chunk of cases has a seed of its own, so that processes share them out; a failure is shrunk and printed.
fuzz: $(VENV)/.done-test  ## run CASES=5000 random cases, of SEED=0, against what always has to hold
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(ONE_THREAD) $(PY) -m pytest -n $(FUZZ_WORKERS) --dist worksteal tests/fuzz $(PYTEST_ARGS)

soak: $(VENV)/.done-test  ## fit and predict thousands of times in one process: flat memory, equal bits
	$(ONE_THREAD) $(PY) tools/soak.py $(SOAK_ARGS)

lint: $(VENV)/.done-lint  ## check style (ruff), format (ruff) and types (mypy)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: $(VENV)/.done-docs  ## build the documentation into docs/_build/html; any warning fails
	@rm -rf docs/generated # pages of names that are gone would be orphans
	$(PY) -m sphinx -b html $(SPHINXOPTS) docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/.done-bench  ## run the benchmarks of speed and dependency, and with DATA=dir those on real data; tables and JSON go to results/
	$(ONE_THREAD) $(PY) benchmarks/speed.py --out results/speed.json
	$(ONE_THREAD) $(PY) benchmarks/overhead.py --out results/overhead.json
	$(ONE_THREAD) $(PY) benchmarks/fusion.py --out results/fusion.json
	$(ONE_THREAD) $(PY) benchmarks/dependency.py --jobs 2 --seeds 1 --out results/dependency.json
ifdef DATA
	$(ONE_THREAD) $(PY) benchmarks/quality.py --data $(DATA) --jobs 2 --seeds 3 --out results/quality.json
	$(ONE_THREAD) $(PY) benchmarks/paper.py --data $(DATA) --jobs 2 --seeds 3 --no-choose --out results/paper.json
	$(ONE_THREAD) $(PY) benchmarks/robustness.py --data $(DATA) --seeds 3 --jobs 2 --out results/robustness.json
endif

# With URL, links lead to the repository of that address, as in a release; a copy is changed, not the checkout.
package: $(VENV)/.done-package  ## build the source distribution and the wheel into dist/, and check them (with URL=https://... HEAD, with links to there)
	@rm -rf dist build/published
ifdef URL
	@mkdir -p build/published && git archive HEAD -o build/head.tar && tar -xf build/head.tar -C build/published
	$(PY) tools/published_links.py "$(URL)" v$$($(PY) -c "import sklearn_mdm; print(sklearn_mdm.__version__)") build/published
endif
	$(PY) -m build --outdir dist $(if $(URL),build/published)
	$(PY) -m twine check --strict dist/*

clean:  ## remove environments, caches, built documentation and results
	rm -rf .venv .venv-floors .venv-floors-torch build dist results docs/_build docs/auto_examples docs/generated
	rm -rf .mypy_cache .pytest_cache .ruff_cache docs/sg_execution_times.rst
	find sklearn_mdm tests examples benchmarks tools docs -name __pycache__ -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------
# A stamp is newer than the files that decide what is installed, or the installation is repeated.

# An environment whose creation was interrupted has a python and no pip: it is made anew.
%/.created:
	@test -d $* && $*/$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $*
	@touch $@

$(VENV)/.done-%: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "installing sklearn-mdm[$*] into $(VENV)"
	@$(PY) $(PIP_INSTALL) -e ".[$*]" -c constraints.txt
	@touch $@

$(FLOORS_VENV)/.done: pyproject.toml constraints.txt constraints-floors.txt | $(FLOORS_VENV)/.created
	@echo "installing the oldest supported versions into $(FLOORS_VENV)"
	@cp constraints-floors.txt $(FLOORS_VENV)/constraints.txt
ifndef TORCH_FLOOR
	@sed '/^torch==/d' constraints-floors.txt | cat - constraints.txt > $(FLOORS_VENV)/constraints.txt
endif
	@$(FLOORS_PY) $(PIP_INSTALL) -e ".[test]" -c $(FLOORS_VENV)/constraints.txt
	@touch $@

.PRECIOUS: %/.created $(VENV)/.done-%
