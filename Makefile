# make app    set everything up and open the app, on this machine only; for others:
#             make app ADDRESS=0.0.0.0, or one address of this machine, and PORT=8501
# make test   set everything up, check style and types, and run every test, JOBS files
#             of tests at a time: one more than there are cores, as some wait (JOBS=5)
# make fuzz   try N (1000) strange inputs of each kind, made from SEED (1); KINDS="maps images"
#             chooses, and FIRST=7 N=1 repeats one
#
# Both make .venv when it is missing or older than the requirements. A fresh
# clone needs Python 3.11 or newer with pip, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
ADDRESS ?= 127.0.0.1
JOBS ?= 3
N ?= 1000
SEED ?= 1
FIRST ?= 0

.PHONY: app test compiled imported lint format fuzz clean

app: $(VENV)/.warm
	$(BIN)/streamlit run streamlit_app.py --server.address $(ADDRESS) --server.port $(PORT)

# Modules are compiled as they are imported, not all 16,000 that are installed, and kept,
# whatever the environment says: hundreds of processes of the tests import them.
export PYTHONDONTWRITEBYTECODE :=

# Files of tests that have a mark; what runs few of them need not import all.
marked = $(shell grep -rlF "mark.$(1)" tests --include=*.py)

# Most tests share the cores; what compares times runs alone. The longest files come first
# (tests/conftest.py). Numba's cache is filled before, so that no two processes compile the
# same, beside the types, which take as long; and behind these every test is imported, or all
# processes would compile packages and rewrite asserts at the same time. The kernels run once
# more as plain Python, where nothing can hide in compiled code.
test: $(VENV)/.dev
	$(MAKE) --no-print-directory --jobs=2 compiled lint imported
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone $(call marked,alone)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "interpreted and not alone" $(call marked,interpreted)

compiled: $(VENV)/.dev
	$(BIN)/python -m tests.warm

# What cannot be imported is told where tests run.
imported: $(VENV)/.dev lint
	-@$(BIN)/python -m pytest --collect-only -qq > /dev/null

fuzz: compiled
	$(BIN)/python -m tests.fuzz $(KINDS) --seed $(SEED) --first $(FIRST) -n $(N)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d; name one with make PYTHON=…" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-bench.txt requirements-notebook.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile -r requirements-dev.txt
	touch $@ $(VENV)/.runtime

# Numba compiles the masked engine once; from then on it comes from the cache.
$(VENV)/.warm: $(VENV)/.runtime sact_core/network.py $(wildcard sact_core/backends/*.py sact_core/backends/masked/*.py sact_core/backends/masked/kernels/*.py)
	$(BIN)/python -m sact_core.backends.masked.warm
	touch $@

clean:
	rm -rf $(VENV)
