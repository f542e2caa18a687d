# Two commands do everything on a fresh machine with Python 3.11 or newer, make and a C compiler:
#   make demo    environment, install, the main job against the reference staging service
#   make test    environment, install, every check and the whole test suite

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test endurance check format docs reference bench clean

help: ## Say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Make the environment in .venv

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Loadgate needs Python 3.11 or newer; name one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## Load the reference staging service at 1100 req/s and say PASS or FAIL
	$(BIN)/loadgate demo

test: install check ## Run every check and the whole test suite
	.ci/test-suite $(BIN)

endurance: install ## Prove what takes long: thirty kills in one run, and simulated weeks (two hours)
	$(BIN)/pytest -m endurance tests/endurance
	$(BIN)/python benchmarks/endurance.py --days 7 --endpoints 3
	$(BIN)/python benchmarks/endurance.py --days 7 --endpoints 20

check: install ## Run the linters, the type checker and the import-direction check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Mend what the linters can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## Build the site of the documentation into build/docs; a broken link is an error
	$(BIN)/python -m sphinx -E -a -W --keep-going -n -q -b html -d build/doctrees docs build/docs

reference: install ## Write the tables of docs/ that come from the code anew
	$(BIN)/python docs/_extensions/page_tables.py

bench: install ## Measure against the budgets (wants nginx, and an idle machine)
	$(BIN)/python benchmarks/recording.py
	$(BIN)/python benchmarks/lateness.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/judging.py
	$(BIN)/python benchmarks/campaign.py
	$(BIN)/python benchmarks/intervals.py
	$(BIN)/python benchmarks/regression.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/master.py

clean: ## Remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
