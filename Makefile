# The commands of this project. Each makes .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Waiting threads sleep: spinning ones slow training several times over on few cores.
export OMP_WAIT_POLICY = passive

# Tests run in so many processes: more than there are cores, as those of the launcher mostly wait.
TEST_JOBS ?= 3
# The commit that `make bench` compares training steps with.
BEFORE ?= 81b32d8

# A thread each, or the processes wait for one another.
test: export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check docs baselines proofs soak bench kernels clean
help:
	@echo "make demo    train the small Fig. 3 on this machine and draw it (5 to 9 minutes on 2 cores)"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, and the pages of the reference"
	@echo "make docs    the pages of the reference, from the docstrings, into build/docs"
	@echo "make baselines  write the baselines that come with the package anew from results/"
	@echo "make proofs  the slow tests: learning curves, what makes RAM-Net learn, and of some fast ones all cases"
	@echo "make soak    sweeps killed, stopped and timed for minutes, into results/soak"
	@echo "make bench   samplers, engines and training steps against their references, commit BEFORE and, with ZOOLOGY=CHECKOUT, Zoology"
	@echo "make kernels compile RAM-Net's Triton kernels for Hopper, with or without a GPU: registers and spills"

# torch first and through pip, with the pinned version, so that a local CPU wheel is taken where there is one.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/mqar-bench sweep fig3 --scale demo --results demo/results
	$(BIN)/mqar-bench plot fig3 --scale demo --results demo/results --out demo/figures

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

check: $(VENV)/.ready docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.ready
	$(BIN)/python tests/docs/build.py

baselines: $(VENV)/.ready
	$(BIN)/python -m mqar_bench.records.baselines

proofs: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

soak: $(VENV)/.ready
	SOAK_RESULTS=results/soak $(BIN)/python -m pytest -m soak tests/soak

bench: $(VENV)/.ready
	rm -rf build/before && git clone -q --shared --no-checkout . build/before && git -C build/before checkout -q $(BEFORE)
	$(BIN)/python tests/bench.py --against build/before --json results/perf/cpu-steps.json $(ZOOLOGY:%=--zoology %)

kernels: $(VENV)/.ready
	$(BIN)/python tests/kernels.py

clean:
	rm -rf $(VENV) build dist *.egg-info demo figures
