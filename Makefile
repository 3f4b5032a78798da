# A fresh machine needs Python 3.10+, make and the package registries; these targets install the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench bench-sign bench-serve bench-transfer bench-growth infra-preview infra-up lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

DEMO_NEEDS_azure := azurite
DEMO_NEEDS_gcs := $(VENV)/.dev
demo: $(or $(DEMO_NEEDS_$(STORAGE)),$(VENV)/.demo) ## Run the demo: page on http://localhost:8080, API on 3000 (STORAGE=s3, azure or gcs; ARGS="--help" for options)
	@exec $(BIN)/python -m demo_server $(if $(STORAGE),--storage $(STORAGE)) $(ARGS)

test: $(VENV)/.dev chromium azurite ## Pass every test (ARGS="-k name" for some)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cd infra && ../$(BIN)/mypy --strict .

format: $(VENV)/.dev ## Put the code into the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev wrk ## Measure signatures and the server beside what people use today (ARGS="--check" fails on a missed target)
	$(BIN)/python -m bench $(ARGS)

bench-sign: $(VENV)/.dev ## Measure what a signature costs
	$(BIN)/python -m bench.sign $(ARGS)

bench-serve: $(VENV)/.dev wrk ## Measure POST /upload beside Express and FastAPI
	$(BIN)/python -m bench.serve $(ARGS)

bench-transfer: $(VENV)/.dev ## Measure what uploads cost the application
	$(BIN)/python -m bench.transfer $(ARGS)

bench-growth: $(VENV)/.dev wrk ## Measure many clients, many tickets and renewed credentials
	$(BIN)/python -m bench.growth $(ARGS)

infra-preview: $(VENV)/.dev ## Show what `pulumi up` would change, or what is missing for it
	@$(BIN)/python infra/preflight.py preview $(ARGS)

infra-up: $(VENV)/.dev ## Provision the bucket with Pulumi, or say what is missing for it
	@$(BIN)/python infra/preflight.py up $(ARGS)

lock: $(VENV)/.dev ## Pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --custom-compile-command "make lock" \
		--extra dev pyproject.toml --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --custom-compile-command "make lock" \
		--extra demo --constraints requirements-dev.lock pyproject.toml --output-file requirements-demo.lock

clean: ## Remove what these targets installed and wrote, but not the demo's uploads
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis infra/.venv \
		bench/express/node_modules emulators/azurite_package/node_modules

.PHONY: azurite
azurite: $(VENV)/.dev
	@$(BIN)/python -m emulators.azurite

.PHONY: wrk
wrk:
	@sh bench/ensure_wrk.sh

.PHONY: chromium
chromium:
	@sh tests/browser/ensure_chromium.sh

$(VENV)/.python:
	@sh .ci/make_venv.sh "$(PYTHON)" $(VENV)

$(VENV)/.demo: $(VENV)/.python requirements-demo.lock
	@echo "Installing what the demo needs"
	@test -e $(VENV)/.dev || $(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-demo.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.python requirements-dev.lock
	@echo "Installing what development needs"
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-dev.lock
	@touch $@
