# Every target works from a fresh clone: the virtual environment is made where it is missing.
.DEFAULT_GOAL := help
.PHONY: help run test reproduce review rehearse history push resolve compare noise transfer check lint fresh identical lock python

# Bytecode makes each stage start seconds faster.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$python" && break; done)

REVIEW := reports/review
# The shell expands BASE and OVERRIDE, not make, and no option is made of them: in continuous integration they may be a
# stranger's words.
WORDS = --override="$$OVERRIDE" $${BASE:+-- "$$BASE"}

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

run: $(BIN)/.installed ## run the pipeline: data, checks, training, scores, report
	@python -m tools.launch

test: $(BIN)/.installed-dev ## run the test suite, offline
	@python -m pytest -n auto --dist loadgroup

reproduce: $(BIN)/.installed ## run the pipeline as continuous integration does: it believes no lock, and chooses no data
	@python -m tools.reproduce

review: $(BIN)/.installed ## judge the working tree against BASE=origin/main; the page is in reports/review
	@mkdir -p $(REVIEW)
	@python -m review --output $(REVIEW)/review.md --html $(REVIEW)/index.html \
		$$([ ! -f $(REVIEW)/seconds.jsonl ] || echo --seconds $(REVIEW)/seconds.jsonl) $(WORDS)

rehearse: $(BIN)/.installed ## print the comment that a pull request of the working tree would get
	@python -m review $(WORDS)

history: $(BIN)/.installed ## the numbers of every commit of BRANCH=main that changed them
	@python -m review.history $${BRANCH:+--branch="$$BRANCH"}

push: $(BIN)/.installed ## upload the cache and every run in it to the remote, if there is one
	@python -m tools.share

resolve: $(BIN)/.installed ## settle a merge conflict in dvc.lock and metrics/
	@python -m tools.resolve

compare: $(BIN)/.installed ## train and score the known architectures side by side (about half an hour on MNIST)
	@dvc repro comparison/dvc.yaml
	@cat comparison/summary.md

noise: $(BIN)/.installed ## train with SEEDS=5 seeds (MODEL=… of the comparison): what a difference of one run is worth
	@python -m tools.noise --seeds $(or $(SEEDS),5) $(if $(MODEL),--model $(MODEL))

transfer: $(BIN)/.installed ## score the trained model on the test images of another data set: DATASET=digits
	@python -m tools.transfer -- "$${DATASET:-digits}"

check: $(BIN)/.installed ## check params.yaml: types, ranges, misspelt and unused keys
	@python -m tools.check

lint: $(BIN)/.installed-dev ## check style
	@ruff check . && ruff format --check .

fresh: $(BIN)/.installed ## is dvc.lock the lock of this code and these parameters? needs no data (ALL=1: the comparison, too)
	@python -m tools.fresh $(if $(ALL),--all)

identical: $(BIN)/.installed ## run the pipeline twice in different surroundings and compare every byte
	@python -m tools.identical

lock: $(BIN)/.installed-dev ## pin the newest versions that requirements*.in allow
	@python -m tools.lock

$(BIN)/.installed: requirements.txt | python
	@"$(PYTHON)" -m venv .venv
	@echo "Installing the pinned requirements into .venv (a few minutes, once)"
	@python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(BIN)/.installed-dev: requirements-dev.txt $(BIN)/.installed
	@python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

python:
	@"$(or $(PYTHON),false)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
