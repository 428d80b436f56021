# Each target makes .venv itself when it is missing or older than pyproject.toml or constraints.txt.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint types stub clients bench bench-engine bench-peers bench-samplers bench-scoring bench-selection bench-speculative bench-sweep peers format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

run: $(READY) ## which decoding strategy for which task, and what more compute buys: on the pocket models, offline
	mkdir -p out
	$(BIN)/decodelab bench examples/sweep.yaml --workers $(JOBS) --journal out/sweep.journal.sqlite --html out/sweep.html
	$(BIN)/decodelab bench examples/compute.yaml --workers $(JOBS) --journal out/compute.journal.sqlite --html out/compute.html
	$(BIN)/decodelab scaling examples/compute.yaml --journal out/compute.journal.sqlite --html out/scaling.html \
	    --select any --select "vote(answer=task)" --select best_of --select "best_of(by=path_cost)"

test: $(READY) ## run the tests and the examples in the docstrings
	$(BIN)/pytest -n $(JOBS)

test-slow: $(READY) ## run the tests that take minutes
	$(BIN)/pytest -n $(JOBS) -m slow

lint: $(READY) ## check style, format and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache

# The version in constraints.txt is the one wanted, so pyright need not ask the network for a newer one.
types: $(READY) ## check the types
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

bench: $(READY) ## measure greedy decoding against transformers.generate
	$(BIN)/python benchmarks/greedy.py

bench-sweep: $(READY) ## measure make run's sweep against the same sweep with transformers.generate
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/sweep.py --workers 2

bench-engine: $(READY) ## measure many continuations of few prompts against transformers.generate; results in out/, kept if broken off
	mkdir -p out
	$(BIN)/python benchmarks/engine.py --out out/engine.json
	$(BIN)/python benchmarks/engine.py --model pocket-small --out out/engine.json
	$(BIN)/python benchmarks/engine.py --growth --rounds 3 --out out/engine.json
	$(BIN)/python benchmarks/engine.py --memory

bench-samplers: $(READY) ## measure samplers against transformers, and llama.cpp after make peers
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/samplers.py

bench-speculative: $(READY) ## measure speculative decoding against plain decoding
	mkdir -p out
	$(BIN)/python benchmarks/speculative.py --png out/speculative.png

bench-scoring: $(READY) ## measure scoring against transformers, and lm-evaluation-harness after make peers
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scoring.py --threads 1

bench-selection: $(READY) ## measure minimum Bayes risk against mbrs (after make peers), and selecting against generating
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/selection.py

bench-peers: $(READY) ## compare selections with those of other libraries on the same samples (after make peers; two more: benchmarks/peers.py --help)
	mkdir -p out
	$(BIN)/decodelab bench benchmarks/peers.yaml --journal out/peers.journal.sqlite
	$(BIN)/python benchmarks/peers.py out/peers.journal.sqlite --examples

# Without what they ask for themselves: servers and clients, an older transformers and numpy, which their selections do without.
peers: $(READY) ## install what only benchmarks compare with: llama.cpp (compiled here, minutes), lm-evaluation-harness, mbrs, its_hub, optillm
	$(BIN)/python -m pip install --quiet llama-cpp-python==0.3.36
	$(BIN)/python -m pip install --quiet --constraint constraints.txt lm_eval==0.4.13 accelerate
	$(BIN)/python -m pip install --quiet --no-deps mbrs==0.1.8 fastchrf==0.2.1 simple-parsing==0.1.9 docstring_parser==0.18.0
	$(BIN)/python -m pip install --quiet --no-deps its_hub==1.2.0 optillm==0.4.0
	$(BIN)/python -m pip install --quiet --no-deps latex2sympy2==1.9.1 antlr4-python3-runtime==4.7.2 word2number==1.1

# In a venv of their own on top of ours: they bring older HTTP libraries and pandas.
clients: $(READY) ## run tests of the server with LangChain, lm-evaluation-harness and inspect_ai (installs them into .venv-clients)
	$(PYTHON) -m venv .venv-clients
	cd $(VENV)/lib/python*/site-packages && pwd > $(CURDIR)/.venv-clients/decodelab.pth
	mv .venv-clients/decodelab.pth .venv-clients/lib/python*/site-packages/
	.venv-clients/bin/python -m pip install --quiet langchain-openai==1.7.4 langchain-tests==1.1.9 pytest-asyncio lm_eval==0.4.13 accelerate inspect_ai==0.3.285
	PYTHONPATH=src .venv-clients/bin/python -m pytest -W default -o asyncio_mode=auto -o asyncio_default_test_loop_scope=session \
	    -o asyncio_default_fixture_loop_scope=session tests/server/clients

stub: $(READY) ## write what is made from tables: decodelab/__init__.pyi (the public names) and docs/server-parameters.md
	$(BIN)/python -m decodelab.testing.public_names
	$(BIN)/python -m decodelab.testing.parameter_page

format: $(READY) ## mend style and format in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(READY): pyproject.toml constraints.txt
	@echo "installing into $(VENV): two or three minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean: ## remove .venv and everything that can be made again
	rm -rf $(VENV) build dist out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
