# Every habit has one verb; each installs what it needs and may be run again at any time.
# The verbs that do more than one line live in scripts/, which also work without make.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-full test-long test-times test-all test-newest test-vm test-deploy test-machines lint lint-style lint-types lint-imports lint-house format bench bench-hall \
	docs docs-serve reference release clean

PYTHON := .venv/bin/python
UV := .tools/uv/bin/uv

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install uv and the locked packages
	@scripts/setup.sh tools

demo: ## start a hub on a copy of the example course and open it
	@scripts/demo

test: ## run the tests of minutes: no processes but chosen journeys
	@scripts/test

test-full: ## run all tests but load and chaos, or SHARD=1/3 of them
	@scripts/test --full $(if $(SHARD),--shard $(SHARD))

test-fast: setup ## run the unit tests that start no process
	@$(PYTHON) -m pytest -n 2 --timeout 60 -m "not long and not full" tests/unit

test-long: ## run load and chaos, with random seeds that are printed
	@scripts/test --long

test-times: ## print the seconds of the last run by file, by fixture and by test
	@$(PYTHON) -m tests.support.timings

test-all: test-fast ## run the unit tests on every Python >= 3.11 that is present
	@scripts/test-interpreters

test-newest: ## run the tests that depend on marimo with its newest release (minutes)
	@scripts/test-newest

test-vm: ## run the tests of cgroup v2 and NFS in an emulated machine (some minutes)
	@scripts/test-vm

test-deploy: ## deploy to a fresh Debian in a container, work there, back up and restore (minutes)
	@scripts/test-deploy

test-machines: ## run nodes under Docker Swarm and Slurm, on machines made of namespaces (an hour)
	@scripts/test-machines

lint: lint-style lint-types lint-imports lint-house ## ruff, mypy (students' commands on every system), import contracts, house rules, promises

lint-style: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

lint-types: setup
	@.venv/bin/mypy
	@$(PYTHON) -m tests.support.student_side --mypy

lint-imports: setup
	@.venv/bin/lint-imports

lint-house: setup
	@$(PYTHON) -m pytest -p no:xdist tests/test_house.py tests/test_promises.py

format: setup ## let ruff format and sort
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: ## measure against a plain marimo in the same run
	@scripts/setup.sh test
	@$(PYTHON) -m bench

bench-hall: ## measure a lecture hall: 300 students within a minute, who stay for five
	@scripts/setup.sh demo
	@$(PYTHON) -m bench hall

docs: setup ## build the docs into site/, strictly
	@$(PYTHON) -m scripts.gen_cli_reference --check
	@$(PYTHON) -m scripts.gen_settings_reference --check
	@$(PYTHON) -m scripts.gen_fronts --check
	@$(PYTHON) -m scripts.gen_install_lines --check
	@NO_MKDOCS_2_WARNING=1 $(UV) run --frozen --group docs mkdocs build --strict

reference: setup ## write the reference pages of commands and settings again, and the install lines
	@$(PYTHON) -m scripts.gen_cli_reference
	@$(PYTHON) -m scripts.gen_settings_reference
	@$(PYTHON) -m scripts.gen_fronts
	@$(PYTHON) -m scripts.gen_install_lines

docs-serve: setup ## show the docs while writing them
	@NO_MKDOCS_2_WARNING=1 $(UV) run --frozen --group docs mkdocs serve

release: ## make the files of a release in dist/, VERSION=1.0.0, and say how to tag it
	@scripts/release $(VERSION)

clean: ## remove what the verbs made, except .venv, .tools and .vm
	rm -rf .demo artifacts site dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +
