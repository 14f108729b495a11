# kalshi-fills: `make demo` plays with it, `make check` tests it; nothing else needs to be installed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo check format lint types test torture bench docs pictures release-check clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.venv/pip: # an environment of the project's own, with a pip that knows dependency groups
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

.venv/user: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[embedded]'
	@touch $@

.venv/developer: .venv/user
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: .venv/user ## the tool at work on a practice exchange: no account, no server
	@$(BIN)/python -m kalshi_fills.practice.demo

check: lint types test ## everything that must hold: format, lint, types, tests

format: .venv/developer ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/developer
	$(BIN)/mypy

test: .venv/developer
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not torture'

torture: .venv/developer ## the long fault and kill tests
	$(BIN)/python -m pytest -m 'torture or hypothesis' --hypothesis-profile random --timeout 7200

bench: .venv/developer ## speed and memory, as ratios measured side by side
	$(BIN)/python -m bench $(BENCH)

.venv/docs: .venv/developer
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

docs: .venv/docs ## the documentation as a site, in site/; a broken link fails
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env -q docs site

pictures: .venv/developer ## the README's pictures, from what the demo prints (needs Chromium)
	$(BIN)/python scripts/pictures.py

.venv/release: .venv/docs
	$(BIN)/python -m pip install --quiet --group release
	@touch $@

release-check: .venv/release docs ## everything of a release but the upload
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python scripts/check_release.py dist
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install --quiet dist/*.whl
	build/release/bin/kalshi-fills --version

clean: ## remove what was made here
	rm -rf .venv .demo dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
