# Two commands do everything: `make demo` and `make test`. Both are idempotent, and quick the second time.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_RUNS ?= runs/demo
DEMO_REPORT ?= $(DEMO_RUNS)/report

.PHONY: demo test drills docs install lint types contracts perf simulate clean

# The stamp is older than pyproject.toml or constraints.txt when the environment must be brought up to date.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/petl-bench run --methods zero_shot,full_finetune,lora,adaptformer,msta --setting base2novel --output $(DEMO_RUNS)
	$(BIN)/petl-bench report --runs $(DEMO_RUNS) --all --output $(DEMO_REPORT)

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile tests

# What goes wrong on disks, machines and clusters, done on purpose: long, so not part of the tests.
drills: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m drill tests

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: install
	$(BIN)/python -m mypy

# Contracts are checked on a built wheel, where methods, benchmarks and reports stand inside the package as users have them.
contracts: install
	rm -rf build && mkdir -p build/contracts
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/contracts .
	cd build/contracts && ../../$(BIN)/python -m zipfile -e petl_bench-*.whl . && \
	    PYTHONPATH=. ../../$(BIN)/lint-imports --config ../../.importlinter

perf: install
	$(BIN)/python -m pytest benchmarks/perf --benchmark-only

# Level, power and coverage of intervals and tests, written into docs/statistics.md; under an hour on two cores.
simulate: install
	$(BIN)/python benchmarks/statistics/simulate.py

# The documentation site, in build/site; a broken link or an unknown name fails. Search needs a server:
# python -m http.server --directory build/site
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf build dist *.egg-info
