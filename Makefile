# The index of what can be done here; `make` alone lists it. Everything runs from .venv, which `make` sets up itself.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench bench-protection bench-noc compile up down protos format clean distclean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml deploy/venv.sh
	@PYTHON="$(PYTHON)" sh deploy/venv.sh $(VENV)
	@touch $@

demo: $(READY) ## bring a mesh up, show it at work, take it down; the exit code tells whether it worked
	@$(RUN)/dlibos demo

test: $(READY) ## all tests; those that need a TAP device, nginx or wrk say so when they are skipped
	$(RUN)/pytest

test-fast: $(READY) ## the tests that need no mesh
	$(RUN)/pytest -m "not integration and not slow"

check: $(READY) ## lint, types, import directions, drift of the generated code
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/pytest -q tests/house

compile: $(READY) ## compile the core with mypyc (needs a C compiler and Python's headers)
	@sh deploy/compile.sh $(VENV)

bench: compile ## the mesh beside nginx, interleaved (needs root, wrk, nginx, iproute2)
	$(RUN)/dlibos bench web

bench-protection: compile ## what protection costs, and what distribution costs, beside nginx (as bench)
	$(RUN)/dlibos bench protection

bench-noc: $(READY) ## what a gRPC frame costs with and without grpcio's event engine
	$(RUN)/python tests/bench/noc_transport.py

up: $(READY) ## a mesh of three tiles on http://127.0.0.1:8080/
	@$(RUN)/dlibos up --publish 8080:80 --wait

down: $(READY) ## take it down
	@$(RUN)/dlibos down

protos: $(READY) ## generate proto/gen anew
	sh deploy/protos.sh

format: $(READY) ## put the code into the house's form
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

clean: ## remove the compiled core and what tools left
	find node -name '*.so' -delete
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## and the virtual environment
	rm -rf $(VENV)
