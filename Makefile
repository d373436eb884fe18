# Every target sets up what it needs by itself; python3 (3.11 or newer) is all that must be there.
# Another interpreter: make setup PYTHON=python3.13
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
FAST := -n 4 -m "not integration and not bench"
SERVERS := -m "integration and not bench"
AWS := tests/aws tests/clients tests/servers/test_aws_servers.py
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-config \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help setup fmt check lint form types layers spelling test test-fast test-integration test-aws test-kafka test-lowest cov cov-core bench demo build lock clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

.venv/.dev .venv/.run: .venv/.%: requirements/%.txt pyproject.toml .ci/bootstrap.py
	@$(PYTHON) .ci/bootstrap.py $*

.venv-lowest/.lowest: requirements/lowest.txt pyproject.toml .ci/bootstrap.py
	@$(PYTHON) .ci/bootstrap.py lowest .venv-lowest

setup: .venv/.dev ## .venv with all that development needs

fmt: setup ## put the code into its form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

check: lint form types layers spelling ## all that needs no test run; `make -k check` goes on after a failure

lint: setup
	$(BIN)/ruff check .

form: setup
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports --no-cache --no-logo

spelling: setup
	$(BIN)/codespell

test: test-fast test-integration ## all tests; brokers are started by the tests, or skipped with the reason

test-fast: setup ## tests that need nothing but Python, on four processes, for many of them wait
	$(PYTEST) $(FAST) $(ARGS)

test-integration: test-aws test-kafka ## tests against real brokers

# In several processes: most of these tests wait for a timeout or a lease. Each has servers of its own.
test-aws: setup ## tests against servers that answer as AWS does
	$(PYTEST) -n 4 $(SERVERS) $(AWS) $(ARGS)

# Two processes, each with a broker of its own: half of the time is waiting for timeouts and for brokers that went.
test-kafka: setup ## tests against Apache Kafka, and of all services together
	$(PYTEST) -n 2 --dist loadfile $(SERVERS) $(addprefix --ignore ,$(AWS)) $(ARGS)

# The oldest releases have no wheels for the newest Pythons: use 3.11 or 3.12 here. What is left out needs no
# dependencies, is slow, or holds the words of the newest service model.
test-lowest: .venv-lowest/.lowest ## most of the fast tests, on the oldest dependencies that pyproject.toml allows
	.venv-lowest/bin/python -m pytest -n 4 -m "not integration and not bench and not slow" \
		--ignore tests/core --ignore tests/docs --ignore tests/benchmarks --ignore tests/config/test_service_model.py \
		--ignore tests/control/test_names.py --ignore-glob 'tests/control/test_protocol*' \
		--ignore tests/control/test_policies.py $(ARGS)

cov-core: setup ## every line and branch of the core, by its own tests
	$(BIN)/coverage erase && $(BIN)/coverage run -m pytest tests/core -q $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'streamfn/core/*' --fail-under 100

cov: setup ## coverage of all tests: every line and branch of the core, most of the rest
	$(BIN)/coverage erase && $(BIN)/coverage run -m pytest -m "not bench" $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'streamfn/core/*' --fail-under 100
	$(BIN)/coverage report --fail-under 90

bench: setup ## measure; ARGS are handed on
	$(BIN)/python -m benchmarks $(ARGS)

demo: .venv/.run ## see it work
	@$(BIN)/streamfn demo $(ARGS)

build: setup ## sdist and wheel, and the fast tests against the wheel in a clean environment
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist
	.ci/test-wheel dist/*.whl $(ARGS)

lock: setup ## pin again what pyproject.toml asks for; UPGRADE=--upgrade takes the newest of everything
	$(LOCK) pyproject.toml --extra all --extra testing --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra all --group build -c requirements/dev.txt -o requirements/run.txt
	$(LOCK) pyproject.toml --extra all --extra testing --group test --resolution lowest-direct --upgrade -o requirements/lowest.txt
	$(LOCK) --group servers -o requirements/servers.txt
	$(LOCK) --group clients -o requirements/clients.txt
	$(LOCK) --group peers -o benchmarks/peers.txt

clean: ## away with everything that was made
	rm -rf .venv .venv-lowest build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
