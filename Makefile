# Works with Python >= 3.11, make and a package index. Options, as in `make test VENV=.venv-lowest`:
PYTHON ?= python3
VENV ?= .venv
LOCK ?= requirements.lock
TESTS ?=

export MPLBACKEND = Agg
export UV_NO_PROGRESS = 1
# Compiled modules are kept: without them each start of Python compiles torch again.
unexport PYTHONDONTWRITEBYTECODE
# uv does not read pip's settings.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

BIN := $(VENV)/bin
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(LOCK)
COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --no-header \
	--no-emit-index-url --no-emit-find-links --no-annotate --all-extras --group dev pyproject.toml

.PHONY: help install demo test check format lock clean

help:
	@echo 'make install   $(VENV) with holdfast, all extras and the development tools'
	@echo 'make demo      $(VENV) with the core only, then holdfast demo'
	@echo 'make test      the whole test-suite; TESTS="tests/test_attack.py -x" for a part'
	@echo 'make check     formatting, lint and types; make format repairs the first two'
	@echo 'make lock      the newest and the lowest supported versions into the two lock files'
	@echo 'make clean     remove $(VENV) and all caches'

install: $(VENV)/.dev

demo: $(VENV)/.core
	$(BIN)/holdfast demo

# A worker of one thread for each core: more threads gain nothing on the tests' small networks.
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(TESTS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: $(VENV)/.uv
	$(COMPILE) --upgrade --output-file requirements.lock
	$(COMPILE) --upgrade --resolution lowest-direct --output-file requirements-lowest.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
	  f"holdfast needs Python 3.11 or newer; $(PYTHON) is {v}: try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'
	@touch $@

$(VENV)/.core: $(VENV)/.uv pyproject.toml $(LOCK)
	@echo 'Installing holdfast into $(VENV); the first time PyTorch alone can take minutes'
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml $(LOCK)
	@echo 'Installing holdfast into $(VENV); the first time PyTorch alone can take minutes'
	$(INSTALL) --editable '.[vision,scale,tensorboard,rl]' --group dev
	@touch $(VENV)/.core $@
