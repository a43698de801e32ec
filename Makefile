# SPDX-License-Identifier: GPL-2.0-or-later
#
# Everything from a bare checkout. Builds and downloads go to $XDG_CACHE_HOME/dcbm-lab, Python packages
# to .venv; nothing else of the host is changed, but for the Debian packages that "setup" installs.

SHELL = /bin/bash
.SHELLFLAGS = -eu -o pipefail -c
.DEFAULT_GOAL = help

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PACKAGES_STAMP = $(VENV)/.packages
PYTHON_STAMP = $(VENV)/.installed
SOURCES = lab tests
# Guests share the host's CPUs: more of them at once only makes each slower.
GUESTS_AT_ONCE ?= 2
# Another base of qemu-devices/pins.toml than the lab's own.
NEWER_QEMU ?= 10.2
ARGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(PYTHON_STAMP) ## Debian packages (those that are missing; as root or by sudo) and .venv

# Only a changed list is looked at again: a package removed later shows in "dcbm-lab doctor".
$(PACKAGES_STAMP): lab/host.py
	@missing="$$($(PYTHON) lab/host.py | tr '\n' ' ')"; \
	missing="$${missing% }"; \
	if [ -n "$$missing" ]; then \
	    as_root=; \
	    if [ "$$(id -u)" != 0 ]; then \
	        as_root=sudo; \
	        if ! command -v sudo >/dev/null; then \
	            echo "missing packages; as root: apt-get install $$missing" >&2; exit 1; \
	        fi; \
	    fi; \
	    echo "installing: $$missing"; \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update; \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
	        install --no-install-recommends $$missing; \
	    missing="$$($(PYTHON) lab/host.py | tr '\n' ' ')"; \
	    if [ -n "$${missing% }" ]; then \
	        echo "still missing after the installation: $$missing" >&2; exit 1; \
	    fi; \
	fi
	@mkdir -p $(VENV)
	@touch $@

$(PYTHON_STAMP): pyproject.toml $(PACKAGES_STAMP)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m compileall -q lab
	@touch $@

.PHONY: run
run: setup ## set up, build what is missing, run the compaction experiment (ARGS="--output DIR" …)
	$(BIN)/dcbm-lab run compaction $(ARGS)

.PHONY: build
build: setup ## QEMU, kernels and guest image, without running anything
	$(BIN)/dcbm-lab build all

.PHONY: test
test: build ## every test: unit, device models, guests
	$(BIN)/python -m pytest -n $(GUESTS_AT_ONCE) --dist loadgroup $(ARGS)

.PHONY: test-bases
test-bases: setup ## every kernel base, every layout of dcbm's controls, a local tree (builds for minutes each)
	$(BIN)/python -m pytest --bases -m bases $(ARGS)

.PHONY: check
check: lint ## linters, types and unit tests
	$(BIN)/python -m pytest -q -n auto tests/unit $(ARGS)

.PHONY: check-device
check-device: setup ## the device models' own tests: qtests, the same with sanitizers, fuzzing corpora
	$(BIN)/python -m pytest -n auto -m device tests/device $(ARGS)

.PHONY: device-coverage
device-coverage: setup ## which lines of the device models their tests run; the last line is the share
	@$(BIN)/python -m lab.devices coverage

.PHONY: fuzz
fuzz: setup ## fuzz the device models for SECONDS=n in all, and keep what reaches more
	@test -n "$(SECONDS)" || { echo "how long? make fuzz SECONDS=600" >&2; exit 2; }
	$(BIN)/python -m lab.devices fuzz --seconds "$(SECONDS)"

.PHONY: mutation-score
mutation-score: setup ## break our own series in every known way: how often does the suite notice? (caught/all is the last line)
	@$(BIN)/python -m lab.mutations $(ARGS)

.PHONY: check-style
check-style: setup ## QEMU's and the kernel's checkpatch on the device models, patches and modules
	$(BIN)/python -m pytest -q tests/style $(ARGS)

.PHONY: bench
bench: setup ## how long users wait, beside kunit.py (ARGS="--all", "--only NAME", "--output FILE"); run it alone
	$(BIN)/python -m lab.dev.speed $(ARGS)

.PHONY: bench-device
bench-device: setup ## how fast the device models copy: alone against memcpy, and in a guest (ARGS="--output FILE")
	$(BIN)/python -m lab.device_bench $(ARGS)

.PHONY: fit-timing
fit-timing: setup ## fit timing profile zen3 to the published figures, and compare the device's numbers
	$(BIN)/python -m lab.timing_fit

.PHONY: check-device-newer
check-device-newer: setup ## the same, and that the virtual clock is exact, on a newer QEMU (NEWER_QEMU=10.2)
	$(BIN)/python -m pytest --qemu-base $(NEWER_QEMU) tests/device \
	    tests/guest/test_session.py::test_the_virtual_clock_is_exact $(ARGS)

.PHONY: lint
lint: setup ## ruff and mypy
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

.PHONY: clean
clean: ## remove .venv and what the tools left in the checkout; the artifact cache stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "the artifact cache stays: dcbm-lab cache gc --days 0 empties it"
