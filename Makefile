# Two commands do everything: `make demo` and `make test`. Both are idempotent, and quick the second time.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_RUNS ?= runs/demo
DEMO_REPORT ?= $(DEMO_RUNS)/report

# build/house is made anew each time, for the source may have changed.
.PHONY: build/house demo test drills drills-ci ci coverage docs structure pictures methods install lint types contracts perf simulate clean

# The stamp is older than pyproject.toml or constraints.txt when the environment must be brought up to date.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/petl-bench run --methods zero_shot,full_finetune,lora,adaptformer,msta --setting base2novel --output $(DEMO_RUNS)
	$(BIN)/petl-bench report --runs $(DEMO_RUNS) --all --output $(DEMO_REPORT)

# Each test file stays on one worker, so that its tests share what its fixtures made; files with slow tests start first.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: install
	$(PYTEST) -n 2 tests

# Drills: real clusters, browsers, and processes that are stopped and killed. Those that CI runs have the marker `ci` too.
drills-ci: install
	$(PYTEST) -n 2 -m "drill and ci" tests

# All of them, and property-based tests with many more examples than `make test` draws.
drills: install
	$(PYTEST) -n 2 -m drill tests
	$(PYTEST) -n 2 -m "hypothesis and not drill" --hypothesis-profile=drills tests

ci:
	.ci/run

# Lines and branches that `make test` reaches; processes that tests start are not followed.
coverage: install
	$(PYTEST) -n 2 --cov --cov-report=term:skip-covered --cov-report=html:build/coverage tests

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: install
	$(BIN)/python -m mypy

# The wheel, unpacked: methods, benchmarks and reports stand inside the package, as users have them.
build/house: install
	rm -rf build/house build/lib build/bdist.* && mkdir -p build/house  # setuptools leaves what an earlier wheel held
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/house .
	cd build/house && ../../$(BIN)/python -m zipfile -e petl_bench-*.whl .

contracts: build/house
	cd build/house && PYTHONPATH=. ../../$(BIN)/lint-imports --config ../../.importlinter

# The picture of the packages and their imports, and the counts, in docs/structure.md.
structure: build/house
	$(BIN)/python docs/pictures/draw_structure.py build/house --picture docs/pictures/structure.svg --document docs/structure.md

# The pictures of docs/method_sites.md.
pictures: install
	$(BIN)/python docs/pictures/draw_sites.py

# docs/methods.md, from the files of the methods.
methods: install
	$(BIN)/python docs/generate_methods.py

perf: install
	$(BIN)/python -m pytest benchmarks/perf --benchmark-only

# Level, power and coverage of intervals and tests, written into docs/statistics.md; under an hour on two cores.
simulate: install
	$(BIN)/python benchmarks/statistics/simulate.py
	$(BIN)/python benchmarks/statistics/simulate_tuned.py

# The documentation site, in build/site; a broken link or an unknown name fails. Search needs a server:
# python -m http.server --directory build/site
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf build dist *.egg-info
