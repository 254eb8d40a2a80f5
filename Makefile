# Every target that needs the environment makes it first; .ci/install returns at once when it is there.
# make install PYTHON=python3.12          another Python, 3.11 to 3.13
# make install GPAW_CONFIG=siteconfig.py  GPAW built another way, on a cluster for instance
# make test PYTEST_FLAGS="-k sites"       any of pytest's options

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format coverage clean
export PYTHON GPAW_CONFIG
bin := .venv/bin
# Many tests wait for other processes, so three workers keep two cores busy; PYTEST_FLAGS="-n 0" is one.
side_by_side := -n 3 --dist loadscope

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

install: ## make .venv with the sabatier command
	@.ci/install
	@echo "ready: $(bin)/sabatier"

demo: install ## run a small campaign with real DFT in runs/demo
	$(bin)/sabatier run demo --home runs/demo

# One thread each: GPAW's processes share the cores, and OpenBLAS would take all of them for every one.
test coverage: export OMP_NUM_THREADS = 1
test coverage: export OPENBLAS_NUM_THREADS = 1
test: lint ## lint, then run all tests but the slow ones
	@.ci/setup-slurm
	$(bin)/pytest -m "not slow" $(side_by_side) $(PYTEST_FLAGS)

coverage: install ## run the tests and report what they do not reach
	@.ci/setup-slurm
	$(bin)/pytest -m "not slow" --cov=config --cov=dft --cov=surrogate --cov=pipeline --cov=tasks \
		--cov-branch --cov-report=term-missing:skip-covered $(PYTEST_FLAGS)

lint: install ## ruff, mypy, import-linter, pinned versions
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports
	$(bin)/python .ci/check-pins

format: install ## let ruff fix and format the code
	$(bin)/ruff check --fix
	$(bin)/ruff format

clean: ## remove .venv and caches; runs/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +
