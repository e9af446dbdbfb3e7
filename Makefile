# `make` alone lists what there is. Everything it needs is installed into .venv*, nothing elsewhere.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
  $(p) -c 'import sys, venv; print("$(p)") if (3, 11) <= sys.version_info[:2] <= (3, 13) else None' 2>/dev/null)))
BIN := .venv/bin
SAM := .venv-sam/bin/sam

# What the model is made from. `make model` wants them named (or the defaults to be there); `make demo` finds some.
DATA ?=
WEIGHTS ?=
IMAGE_SIZE ?=
COMPRESS ?=
SHARED ?= ../shared
EVENT ?= events/sqs-batch.json

model_options = $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(IMAGE_SIZE),--image-size $(IMAGE_SIZE))

export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo model layer build invoke test lint validate deploy lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## create .venv with the pinned dependencies

demo: .venv/ready ## the whole path on this machine: build the model, upload pictures, print and draw their labels
	@$(BIN)/python -m local.demo --shared '$(SHARED)' $(model_options)

model: .venv/ready ## train and quantise the model: DATA=folder WEIGHTS=imagenet|random|file.h5 IMAGE_SIZE=224 COMPRESS=none|auto|3
	@$(BIN)/python -m model_build $(model_options) $(if $(COMPRESS),--compress '$(COMPRESS)')

layer: .venv/ready ## fill build/layers with the libraries and the model, print the size and the margin
	@$(BIN)/python -m model_build.package_layer

build: .venv-sam/ready ## sam build, without Docker (after `make layer`)
	@$(SAM) build

invoke: .venv/ready .venv-sam/ready ## run the built function on EVENT=events/NAME.json against the local AWS
	@$(BIN)/python -m local.emulator '$(EVENT)'

test: .venv/ready .venv-sam/ready lint ## lint, types and all tests
	@$(BIN)/python -m model_build.package_layer --libraries-only
	@$(BIN)/python -m local.runtime_python
	@$(BIN)/python -m pytest

lint: .venv/ready ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

validate: .venv-sam/ready ## sam validate --lint
	@AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-eu-central-1} $(SAM) validate --lint

deploy: layer build ## deploy to your AWS account, asking for what it needs to know
	@$(SAM) deploy --guided

lock: .venv/ready ## resolve requirements/*.in into the pinned *.txt
	@requirements/lock

clean: ## remove everything that was built, but the environments
	rm -rf build .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: requirements/dev.txt requirements/installer.txt
	@requirements/install "$(PYTHON)" .venv requirements/dev.txt
	@$(BIN)/python -c 'import os, sysconfig; print(os.path.abspath("functions"), os.path.abspath("."), sep="\n", \
	  file=open(os.path.join(sysconfig.get_path("purelib"), "project.pth"), "w"))'
	@touch $@

.venv-sam/ready: requirements/sam.txt requirements/installer.txt
	@requirements/install "$(PYTHON)" .venv-sam requirements/sam.txt
	@touch $@
