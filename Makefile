# make app    set everything up and open the app, on this machine only; for others:
#             make app ADDRESS=0.0.0.0, or one address of this machine, and PORT=8501
# make test   set everything up, check style and types, and run every test,
#             JOBS files of tests at a time (JOBS=4 on a larger machine)
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
JOBS ?= 2
N ?= 1000
SEED ?= 1
FIRST ?= 0

.PHONY: app test lint format fuzz clean

app: $(VENV)/.warm
	$(BIN)/streamlit run streamlit_app.py --server.address $(ADDRESS) --server.port $(PORT)

# Most tests share the cores; what is timed, measured or seen in a browser runs alone.
# Numba's cache is filled first, so that no two processes compile the same. The kernels
# run once more as plain Python, where nothing can hide in compiled code.
test: lint
	$(BIN)/python -m sact_core.backends.masked.warm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not browser and not alone"
	$(BIN)/python -m pytest -m "browser or alone"
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "interpreted and not alone"

fuzz: $(VENV)/.dev
	$(BIN)/python -m sact_core.backends.masked.warm
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
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-bench.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ $(VENV)/.runtime

# Numba compiles the masked engine once; from then on it comes from the cache.
$(VENV)/.warm: $(VENV)/.runtime sact_core/network.py $(wildcard sact_core/backends/*.py sact_core/backends/masked/*.py sact_core/backends/masked/kernels/*.py)
	$(BIN)/python -m sact_core.backends.masked.warm
	touch $@

clean:
	rm -rf $(VENV)
