# make quickstart | test | sanitize | lint | docs | format | lock | clean
# One set-up for all: a virtual environment in .venv holding exactly requirements.lock and this checkout, editable.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# The cv2 to keep: opencv-python opens windows, for the demo; opencv-python-headless needs no libGL (servers).
OPENCV ?= opencv-python
# Processes that share the tests, one thread each.
TEST_PROCESSES ?= 2
SANITIZE_SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOG := $(VENV)/install.log
STAMP := $(VENV)/.installed
PYTHON_FLOOR := $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)

.PHONY: help setup quickstart test test-fast sanitize lint docs format lock clean

help:
	@echo "make quickstart   install, then train, convert, calibrate and evaluate a small detector into runs/quickstart"
	@echo "make test         install, then run the tests;  make test-fast leaves out the slow ones"
	@echo "make sanitize     install, then run all that calls the C++ kernels under AddressSanitizer and UBSan (GCC)"
	@echo "make lint         install, then ruff, mypy and make docs;  make format lets ruff rewrite"
	@echo "make docs         build the documentation into build/site; it works offline"
	@echo "make lock         write requirements.lock from .venv;  make clean removes caches and builds, never runs/"
	@echo "Variables: PYTHON=python3.12, OPENCV=opencv-python-headless, TEST_PROCESSES=4"

setup: $(STAMP)

quickstart: setup
	$(BIN)/spikedet quickstart --out runs/quickstart

test: setup
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

test-fast: setup
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal -m "not slow"

# Random calls for SANITIZE_SECONDS, then every test of what calls kernels; the first error ends it.
sanitize: setup
	$(BIN)/python tests/kernels/sanitized.py tests/kernels/kernel_fuzz.py --seconds $(SANITIZE_SECONDS)
	$(BIN)/python tests/kernels/sanitized.py -m pytest --capture=sys tests/snn tests/quantization/test_compiled.py \
	    tests/calibration/test_compiled_calibration.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) docs

# Strict: a broken link, a missing page or a resource on another machine is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(PYTHON_FLOOR)".split("."))))' || { \
	    echo "spikedet needs Python >= $(PYTHON_FLOOR), but $(PYTHON) is $$($(PYTHON) --version 2>&1 || true);" \
	         "name a newer one: make PYTHON=python$(PYTHON_FLOOR)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# pip writes to a log; its last lines are shown when it fails.
define INSTALL
@$(PIP) install --progress-bar off $(1) >> $(LOG) 2>&1 || { tail -n 30 $(LOG) >&2; exit 1; }
endef

# opencv-python (wanted by ultralytics and us) and opencv-python-headless (wanted by albumentations) write the same
# cv2 folder, and pip leaves there whichever it happened to unpack last. Reinstalling $(OPENCV) alone settles it.
$(STAMP): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing requirements.lock into $(VENV): a few minutes and 7 GB the first time; log: $(LOG)"
	@: > $(LOG)
	$(call INSTALL,--require-hashes -r requirements.lock)
	@sed -n '/^$(OPENCV)==/,/[^\\]$$/p' requirements.lock > $(VENV)/opencv.txt
	$(call INSTALL,--require-hashes --no-deps --force-reinstall -r $(VENV)/opencv.txt)
	@$(BIN)/python -c 'import cv2' || { \
	    echo "cv2 does not load; where a system library is missing, either install it (Debian: libgl1 libglib2.0-0)" \
	         "or do without windows: make OPENCV=opencv-python-headless ..." >&2; exit 1; }
	$(call INSTALL,--no-deps --no-build-isolation --editable .)
	@touch $@

# To move a version: .venv/bin/pip install --upgrade NAME, make test, make lock.
# The versions are those of .venv; uv adds what other systems need besides, by markers, and the SHA-256 of every file
# that the index has of each version. The index is asked about these packages and no others.
lock: | $(BIN)/python
	@$(PIP) list --format=freeze --exclude-editable --exclude pip --exclude spikedet | sed -e 's/+[^=]*$$//' \
	    > $(VENV)/versions.txt
	@{ echo "# The tested versions of everything that spikedet[dev] needs, with hashes. Written by \`make lock\`."; \
	   $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	   --extra dev --constraint $(VENV)/versions.txt --python-version \
	   "$$($(BIN)/python -c 'import platform; print(platform.python_version())')" pyproject.toml; \
	} > requirements.lock.new
	@mv requirements.lock.new requirements.lock

# Neither runs/ (hours of training) nor .venv (minutes of installing) goes.
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './runs/*' -prune -exec rm -rf {} +
