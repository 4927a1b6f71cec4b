# Each target installs what it needs and nothing else; each can be repeated and does nothing twice.
#   make lab        open your copies of the chapters in JupyterLab, in the folder desk
#                   (DESK=folder: another one; ORIGINAL=04: bring the original of a chapter back)
#   make book       build the book and serve it         (SERVE=0: only build)
#   make pdf        build the book, print it to build/reading-digits.pdf    (with Chromium)
#   make epub       build the book, write build/reading-digits.epub
#   make slides     build the book, write slides to build/slides    (CHAPTER=04: one chapter's)
#   make check      style, types, pairs, the package's own tests: for the loop of editing
#   make test       every check and test                (CHAPTER=04 or CHAPTER=convolution: one chapter's)
#   make style      mend what can be mended by itself: order, spacing, quotes
#   make chapters   execute the chapters whose text changed
# Elsewhere than .venv:  make VENV=/path/to/venv …   Another Python:  make PYTHON=python3.12 …
# Without make:  CONTRIBUTING.md has the same commands.

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8000
SERVE  ?= 1
PY     := $(VENV)/bin/python

.PHONY: lab book pdf epub slides check test style chapters clean
.DEFAULT_GOAL := book
.NOTPARALLEL:

# $(VENV)/.book says that the extra "book" of pyproject.toml is installed, and so do its sisters.
$(VENV)/.%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The course needs Python 3.11 or newer; say which: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Installing PyTorch and what '$*' needs into $(VENV); once, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	@touch $@

lab: $(VENV)/.lab
	$(PY) -m tools.desk $(if $(DESK),--folder "$(DESK)") $(if $(ORIGINAL),--original $(ORIGINAL))

book: $(VENV)/.book
ifneq ($(SERVE),0)
	$(PY) -m tools.serve --build --port $(PORT)
else
	$(PY) -m tools.book
endif

pdf: $(VENV)/.pdf
	$(PY) -m tools.browser
	$(PY) -m tools.pdf

epub: $(VENV)/.book
	$(PY) -m tools.epub

slides: $(VENV)/.book
	$(PY) -m tools.slides $(CHAPTER)

chapters: $(VENV)/.lab $(VENV)/.book
	$(PY) -m tools.chapters run

check: export OMP_NUM_THREADS = 1
check: $(VENV)/.test
	$(PY) -m pytest -m "not slow" -n 2 --dist loadfile tests/package tests/chapters/test_pairs.py tests/pages/test_javascript.py

test: export OMP_NUM_THREADS = 1
test: $(VENV)/.test
	$(PY) -m tools.browser
	$(PY) -m pytest --nbval -n 2 --dist loadfile $(if $(CHAPTER),--chapter $(CHAPTER))

style: $(VENV)/.test
	$(PY) -m ruff check --fix --quiet
	$(PY) -m ruff format --quiet

clean:
	rm -rf build
