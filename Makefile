# `make` alone lists what there is. Everything it needs is installed into .venv*, nothing elsewhere.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
  $(p) -c 'import sys, venv; print("$(p)") if (3, 11) <= sys.version_info[:2] <= (3, 13) else None' 2>/dev/null)))
BIN := .venv/bin
SAM := .venv-sam/bin/sam
CHECKOV := .venv-checkov/bin/checkov

# What the model is made from. `make model` wants them named (or the defaults to be there); `make demo` finds some.
DATA ?=
WEIGHTS ?=
IMAGE_SIZE ?=
COMPRESS ?=
SHARED ?= ../shared
EVENT ?= events/sqs-batch.json
DIR ?=
DELETE ?=
# x86_64 or arm64; without it, the layers are for what samconfig.toml deploys, at first x86_64.
ARCH ?=
PHOTOGRAPHS ?= 40
STACK ?= image-labeller
MODEL ?=
QUICK ?=
ONLY ?=

model_options = $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(IMAGE_SIZE),--image-size $(IMAGE_SIZE))

export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.NOTPARALLEL: # `make -j deploy` would build before the layers are filled
.PHONY: help setup demo model verify-cpus layer build invoke nightly testset capacity backfill shadow test bench lint \
  validate deploy redrive lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## create .venv with the pinned dependencies

demo: .venv/ready ## the whole path on this machine: build the model, upload pictures, print and draw their labels
	@$(BIN)/python -m local.demo --shared '$(SHARED)' $(model_options)

model: .venv/ready ## train and quantise the model: DATA=folder WEIGHTS=imagenet|random|file.h5 IMAGE_SIZE=224 COMPRESS=none|auto|3
	@$(BIN)/python -m model_build $(model_options) $(if $(COMPRESS),--compress '$(COMPRESS)')

verify-cpus: .venv/ready ## the model on this CPU, AVX2-only x86 and arm64: labels and differences, DATA= WEIGHTS= PHOTOGRAPHS=40
	@$(BIN)/python -m bench.cpus --photographs '$(PHOTOGRAPHS)' $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)')

layer: .venv/ready ## fill build/layers with libraries and model, ARCH=x86_64|arm64; print digests, size and margin
	@$(BIN)/python -m layers $(if $(ARCH),--architecture '$(ARCH)')

build: .venv/ready .venv-sam/ready ## sam build, without Docker (after `make layer`), and bytecode for the functions
	@.venv-sam/bin/python -m layers --check  # SAM says that all is well where a layer is missing
	@$(SAM) build
	@$(BIN)/python -m layers.bytecode .aws-sam/build/*Function

invoke: .venv/ready .venv-sam/ready ## run the built function on EVENT=events/NAME.json against the local AWS
	@$(BIN)/python -m local.runtime.invoke '$(EVENT)'

backfill: .venv/ready ## label what is in a bucket already: BUCKET= PREFIX= STALE_ONLY=1 MANIFEST=s3://... STACK= JOB=id YES=1 ENGINE=local
	@$(BIN)/python -m ops.backfill $(if $(BUCKET),--bucket '$(BUCKET)') $(if $(PREFIX),--prefix '$(PREFIX)') \
	  $(if $(STALE_ONLY),--stale-only) $(if $(MANIFEST),--manifest '$(MANIFEST)') $(if $(STACK),--stack '$(STACK)') \
	  $(if $(JOB),--job '$(JOB)') $(if $(YES),--yes) $(if $(ENGINE),--engine '$(ENGINE)')

shadow: .venv/ready ## MODEL=build/candidate against the deployed model, on the test set and yesterday's uploads: STACK= BASELINE=
	@$(BIN)/python -m ops.shadow '$(MODEL)' $(if $(STACK),--stack '$(STACK)') $(if $(BASELINE),--baseline '$(BASELINE)')

capacity: .venv/ready ## queue age, concurrency and cost of a million images, by memory size and rate; limits
	@$(BIN)/python -m ops.capacity

nightly: .venv/ready ## score build/model on the test photographs, on the local AWS, and print where the report is: DATA=folder
	@$(BIN)/python -m local.nightly --shared '$(SHARED)' $(if $(DATA),--data '$(DATA)')

testset: .venv/ready ## upload a labelled test set to your stack: DIR=folder with a folder for each label, STACK=image-labeller, DELETE=1
	@$(BIN)/python -m ops.testset '$(DIR)' --stack '$(STACK)' $(if $(DELETE),--delete)

test: .venv/ready .venv-sam/ready lint validate ## lint, types, the template's checks and all tests
	@$(BIN)/python -m layers --libraries-only --architecture x86_64
	@$(BIN)/python -m layers.runtime_python
	@$(BIN)/python -m pytest

bench: .venv/ready .venv-sam/ready .venv-bench/ready ## speed, side by side: other runtimes, the handler, cold start, build, night: WEIGHTS= DATA= QUICK=1 ONLY="inference ..."
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
	  $(if $(MODEL),--model '$(MODEL)') $(if $(ONLY),--only $(ONLY))

lint: .venv/ready ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

validate: .venv-sam/ready .venv-checkov/ready ## template.yaml: sam validate --lint (cfn-lint), checkov (security rules)
	@AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-eu-central-1} $(SAM) validate --lint
	@$(CHECKOV) --file template.yaml --framework cloudformation --skip-download --compact --quiet

deploy: layer build ## deploy to your AWS account, asking for what it needs to know
	@$(SAM) deploy --guided $(if $(ARCH),--parameter-overrides 'Architecture=$(ARCH)')

redrive: .venv/ready ## put back what waits in the dead-letter queue of STACK=image-labeller
	@$(BIN)/python -m ops.redrive --stack '$(STACK)'

lock: .venv/ready ## resolve pyproject.toml's dependencies into the pinned requirements/*.txt
	@requirements/lock

clean: ## remove everything that was built, but the environments
	rm -rf build .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: requirements/dev.txt requirements/installer.txt pyproject.toml
	@requirements/install "$(PYTHON)" .venv -r requirements/dev.txt -e .
	@touch $@

.venv-%/ready: requirements/%.txt requirements/installer.txt
	@requirements/install "$(PYTHON)" .venv-$* -r requirements/$*.txt
	@touch $@
