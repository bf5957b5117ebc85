# make demo    installs what is needed into .venv, reconstructs ASE's g2 molecules and AFLOW's
#              prototypes of crystals
# make test    the same for development, then all tests but the slow ones
#
# TORCH_INDEX  package index with another build of PyTorch, as its site names it (CUDA, say);
#              without it the CPU build is taken wherever pip finds one
# PYTHON       interpreter that makes the environment

PYTHON ?= python3
TORCH ?= 2.13.0
TORCH_INDEX ?=
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -q
CONSTRAINTS := -c constraints/tested.txt

.PHONY: demo test lint install install-dev clean

demo: $(VENV)/.installed
	$(VENV)/bin/geomae demo -o demo

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow" -q

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.torch:
	$(PYTHON) -c "import sys; sys.exit('geomae needs Python 3.11 or newer') if sys.version_info < (3, 11) else 0"
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH_INDEX),)
	$(PIP) install "torch==$(TORCH)+cpu" 2>/dev/null || $(PIP) install "torch==$(TORCH)"
else
	$(PIP) install --index-url $(TORCH_INDEX) torch
endif
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints/tested.txt
	$(PIP) install $(CONSTRAINTS) -e ".[crystals]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml constraints/tested.txt
	$(PIP) install $(CONSTRAINTS) -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo build dist
