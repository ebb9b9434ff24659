# Every target works from a fresh clone: the virtual environment is made if it is missing.
.DEFAULT_GOAL := help
.PHONY: help run import measure grow predict pictures serve drift correct test lint check fresh verify reproduce base kind review compare experiments history push resolve comparison noise score identical torture audit
.PHONY: lock python repository

# Bytecode makes each stage start seconds faster.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$python" && break; done)

# BASE, OVERRIDE, BRANCH, DATASET, FOLDER, FROM, IMAGE, IMAGES, NAME, GROUP and the like are expanded by the shell, not
# by make, and never become options: in continuous integration they may be untrusted.

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

run: $(BIN)/.installed ## run the pipeline: data, checks, training, scores, report
	@python -m tools.run

import: $(BIN)/.installed ## add the data at FROM=path (pictures, .npz, CSV, Parquet, IDX) to datasets.yaml (NAME=, GROUP=)
	@python -m tools.import $${NAME:+--name="$$NAME"} $${GROUP:+--group="$$GROUP"} -- "$$FROM"

measure: $(BIN)/.installed ## print what datasets.yaml may expect of the classes in data/raw: to renew a reference
	@python -m tools.measure

grow: $(BIN)/.installed ## make IMAGES=6000000 of MNIST by small deformations, to try the pipeline on a large data set
	@python -m tools.grow -- "$$IMAGES"

predict: $(BIN)/.installed ## read the digit in IMAGE=photo.jpg, a folder, or without IMAGE the clipboard (SEVERAL=1: all digits)
	@python -m serving.predict $(if $(SEVERAL),--several) $(if $(IMAGE),-- "$$IMAGE",--clipboard)

pictures: $(BIN)/.installed ## score the trained model on the pictures in FOLDER=…, and show what it read wrong
	@python -m tools.pictures -- "$$FOLDER"

serve: $(BIN)/.installed-serve ## a page and an API that read digits, at http://127.0.0.1:8000 (PORT=, REV=tag)
	@python -m serving $(if $(PORT),--port $(PORT)) $${REV:+--rev="$$REV"}

drift: $(BIN)/.installed ## are the last digits that were served like those the model was trained on? (LAST=500, REV=tag)
	@python -m serving.drift $(if $(LAST),--last $(LAST)) $${REV:+--rev="$$REV"}

correct: $(BIN)/.installed ## write corrected labels into corrections.csv: those made on the page, or PART= INDEX= LABEL=
	@python -m tools.correct $${PART:+--part="$$PART"} $${INDEX:+--index="$$INDEX"} $${LABEL+--label="$$LABEL"}

test: $(BIN)/.installed-dev ## run the test suite, offline
	@python -m pytest -n auto --dist loadgroup

lint: $(BIN)/.installed-dev ## check style and types
	@ruff check . && ruff format --check . && mypy

check: $(BIN)/.installed ## check params.yaml and datasets.yaml: types, ranges, misspelt and unused keys
	@python -m tools.check

audit: $(BIN)/.installed-dev ## is a vulnerability known in a pinned package? asks the package index
	@pip-audit --strict --no-deps --disable-pip --requirement requirements-dev.txt

fresh: $(BIN)/.installed ## does dvc.lock fit this code and these parameters? needs no data (ALL=1: the comparison, too)
	@python -m tools.fresh $(if $(ALL),--all)

verify: $(BIN)/.installed ## read the cache and the outputs again: find damage that DVC does not see, and repair it
	@python -m tools.verify

reproduce: $(BIN)/.installed ## run the pipeline as continuous integration does: ignores dvc.lock; never switches data set
	@python -m tools.reproduce

base: $(BIN)/.installed ## run BASE=origin/main here too, if its numbers come from another kind of machine than these
	@python -m tools.base $${BASE:+-- "$$BASE"}

kind: $(BIN)/.installed ## print the kind of this machine's processor, as far as it decides the bits of a training
	@python -m tools.kind

review: $(BIN)/.installed ## judge the working tree against BASE=origin/main; the page is in reports/review
	@python -m review --seconds reports/review/seconds.jsonl --override="$$OVERRIDE" $${BASE:+-- "$$BASE"}

compare: $(BIN)/.installed ## compare the mistakes, image by image, with those of BASE=HEAD
	@python -m review.compare -- "$${BASE:-HEAD}"

history: $(BIN)/.installed ## the accuracy of every commit of BRANCH=main that changed it
	@python -m tools.history $${BRANCH:+--branch="$$BRANCH"}

experiments: $(BIN)/.installed ## the working tree, the commit and the experiments on it: accuracy, and what was changed
	@python -m tools.experiments

push: $(BIN)/.installed ## upload the cache and every run in it to the remote, if there is one
	@python -m tools.push

resolve: $(BIN)/.installed ## settle a merge conflict in dvc.lock and metrics/
	@python -m tools.resolve

comparison: $(BIN)/.installed ## train and score the fourteen networks side by side (an hour on MNIST, or more)
	@python -m tools.comparison

noise: $(BIN)/.installed ## measure how much the accuracy varies across SEEDS=5 seeds (MODEL=… of the comparison)
	@python -m tools.noise --seeds $(or $(SEEDS),5) $(if $(MODEL),--model $(MODEL))

score: $(BIN)/.installed ## score the trained model on the test images of another data set: DATASET=digits
	@python -m tools.score -- "$${DATASET:-digits}"

identical: $(BIN)/.installed ## run the pipeline twice in unlike surroundings and compare every byte (PORTABLE=1: the digits)
	@python -m tools.identical $(if $(PORTABLE),--portable)

torture: $(BIN)/.installed ## try damage, kills and full disks on copies of the pipeline; half an hour (PARTS="kill hostile")
	@python -m benchmarks.torture -- $${PARTS:-}

lock: $(BIN)/.installed-dev ## pin the newest versions that requirements*.in allow
	@python -m tools.lock

$(BIN)/.installed: requirements.txt | python repository
	@"$(PYTHON)" tools/install.py $< $@

$(BIN)/.installed-serve: requirements-serve.txt $(BIN)/.installed
	@"$(PYTHON)" tools/install.py $< $@

$(BIN)/.installed-dev: requirements-dev.txt $(BIN)/.installed
	@"$(PYTHON)" tools/install.py $< $@

python:
	@"$(or $(PYTHON),false)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }

repository:
	@git rev-parse --quiet --verify HEAD >/dev/null 2>&1 || \
		{ echo "DVC needs a Git repository with a commit, and this folder has none (a ZIP download brings none). Run:" >&2; \
		echo "  git init && git add -A && git -c user.name=me -c user.email=me@localhost commit -m Start" >&2; exit 1; }
