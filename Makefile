# Each target does its own set-up; each can be repeated and does nothing twice.
#   make book    install, build the book, serve it         (SERVE=0: only build)
#   make lab     install, open JupyterLab on the chapters
#   make test    install, run every check and test
#   make pdf     install, build the book, print it to build/reading-digits.pdf  (with Chromium)
#   make epub    install, build the book, write build/reading-digits.epub
#   make chapters   execute the chapters whose text changed
# Elsewhere than .venv:  make VENV=/path/to/venv …   Another Python:  make PYTHON=python3.12 …

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8000
SERVE  ?= 1
PY     := $(VENV)/bin/python

.PHONY: book pdf epub serve lab test chapters style clean
.DEFAULT_GOAL := book

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The course needs Python 3.11 or newer; say which: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Installing into $(VENV): PyTorch, JupyterLab and the book's tools, several GB; once, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[lab,book,pdf,test]'
	@touch $@

book: $(VENV)/.installed
ifneq ($(SERVE),0)
	$(PY) -m tools.serve --build --port $(PORT)
else
	$(PY) -m tools.book
endif

pdf: $(VENV)/.installed
	@sh tools/browser.sh
	$(PY) -m tools.pdf

epub: $(VENV)/.installed
	$(PY) -m tools.epub

lab: $(VENV)/.installed
	$(PY) -m jupyter lab notebooks

chapters: $(VENV)/.installed
	$(PY) -m tools.chapters run

style: $(VENV)/.installed
	$(PY) -m ruff check --fix --quiet && $(PY) -m ruff format --quiet && $(PY) -m mypy

test: $(VENV)/.installed
	@sh tools/browser.sh
	OMP_NUM_THREADS=1 $(PY) -m pytest --nbval -n 2 --dist loadfile

clean:
	rm -rf build
