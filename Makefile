# `make` lists the targets. Everything that they need is installed into .venv*, nothing elsewhere.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
  $(p) -c 'import sys, venv; print("$(p)") if (3, 11) <= sys.version_info[:2] <= (3, 13) else None' 2>/dev/null)))
BIN := .venv/bin
SAM := .venv-sam/bin/sam
CHECKOV := .venv-checkov/bin/checkov

# The variables that a target takes, and the options that they become: see local/make.py.
demo_takes := DATA WEIGHTS IMAGE_SIZE SHARED MIRROR
photographs_takes := MIRROR
model_takes := DATA WEIGHTS IMAGE_SIZE COMPRESS
verify-cpus_takes := DATA PHOTOGRAPHS
layer_takes := ARCH:--architecture HEIC ENV
local_takes := MODEL PORT
invoke_takes := EVENT:argument STACK
labels_takes := LABEL DAY STACK LIMIT JSON:flag
learn_takes := DATA STACK WEIGHTS CANDIDATE MODEL
review_takes := STACK DATA MODEL DAY DAYS PORT
backfill_takes := BUCKET PREFIX STALE_ONLY:flag ALL:flag MANIFEST STACK JOB YES:flag ENGINE
shadow_takes := MODEL:argument STACK BASELINE DAY
nightly_takes := DATA SHARED STACK
testset_takes := DIR:argument? STACK MODEL DELETE:flag
split_takes := DATA OUT
bench_takes := QUICK:flag DATA WEIGHTS MODEL ONLY:words STRANGERS
mutants_takes := MODULES:words SAMPLE SEED MINUTES
deploy_takes := ENV GUIDED:flag ARCH ALLOW_REPLACE:flag
deploy_passes_on := HEIC # to layer
attach_takes := BUCKET:argument STACK DIRECT:flag GATE:flag
detach_takes := BUCKET:argument STACK
redrive_takes := STACK
lock_takes := UPGRADE
test-services_takes := SERVICE

EVENT ?= events/sqs-batch.json
export EVENT

run = $(BIN)/python -m local.make $1 $($@_takes)

# Make ignores variables that it does not know; here a misspelt name is an error.
goals := $(or $(MAKECMDGOALS),help)
allowed := $(foreach target,$(goals),$(foreach variable,$($(target)_takes) $($(target)_passes_on),$(firstword $(subst :, ,$(variable))))) PYTHON
given := $(foreach name,$(filter-out -%,$(.VARIABLES)),$(if $(filter command line,$(origin $(name))),$(name)))
unknown := $(filter-out $(allowed) MAKE% SHELL,$(given))
ifneq ($(unknown),)
$(error `make $(goals)` does not take $(unknown). It takes: $(strip $(allowed)))
endif

export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
ifneq ($(goals),lint validate test-layers) # `make test` runs these side by side
.NOTPARALLEL: # `make -j deploy` would build before the layers are filled
endif
.PHONY: help setup demo photographs model verify-cpus layer build local invoke labels review learn nightly testset split capacity backfill shadow \
  test test-services mutants bench lint validate test-layers deploy attach detach redrive lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## create .venv with the pinned dependencies

demo: .venv/ready ## the whole path on this machine: build a model, upload pictures, print and draw their labels: DATA= WEIGHTS= IMAGE_SIZE= SHARED=../shared MIRROR=url
	@$(call run,local.demo.__main__)

photographs: .venv/ready ## download 3,000 public photographs of cats and dogs into photographs/ (69 MB): MIRROR=url
	@$(call run,local.photographs)

model: .venv/ready ## train and quantise the model: DATA=folder WEIGHTS=imagenet|random|file.h5 IMAGE_SIZE=384|auto COMPRESS=3.5|none|auto
	@$(call run,model_build.__main__)

verify-cpus: .venv/ready ## compare the model on this CPU, AVX2-only x86 and arm64: DATA= PHOTOGRAPHS=40
	@$(call run,bench.cpus.__main__)

layer: .venv/ready ## fill build/layers with libraries and model, print digests, size and margin: ARCH=x86_64|arm64 HEIC=0 ENV=prod
	@$(call run,layers.__main__)

build: .venv/ready .venv-sam/ready ## sam build, without Docker (after `make layer`), and bytecode for the functions
	@.venv-sam/bin/python -m layers --check  # SAM does not notice a missing layer
	@$(SAM) build
	@$(BIN)/python -m layers.bytecode .aws-sam/build/*Function

local: .venv/ready ## the stack on this machine until Ctrl-C, at a printed endpoint; STACK=local leads commands to it: MODEL=folder PORT=4566
	@$(call run,local.server)

invoke: .venv/ready .venv-sam/ready ## run the built function against the local AWS, or a stack in your account: EVENT=events/NAME.json STACK=
	@$(call run,local.runtime.invoke)

labels: .venv/ready ## list the objects with a label: LABEL=name or UNSURE, DAY=2026-11-23 STACK= LIMIT= JSON=1
	@$(call run,ops.labels)

review: .venv/ready ## look at uploads in the browser and correct their labels, a key press each: STACK= or DATA=pictures MODEL=build/model|build/candidate DAY= DAYS=7 PORT=
	@$(call run,ops.review.__main__)

learn: .venv/ready ## add the reviewed pictures to the data set, build a candidate, compare, say deploy or keep: DATA=pictures STACK= WEIGHTS= CANDIDATE= MODEL=
	@$(call run,ops.learn)

backfill: .venv/ready ## label a bucket's existing objects: BUCKET= PREFIX= STALE_ONLY=1 MANIFEST=s3://... STACK= JOB=id YES=1 ENGINE=local ALL=1
	@$(call run,ops.backfill)

shadow: .venv/ready ## compare a model with the deployed one, on the test set and yesterday's uploads: MODEL=build/candidate STACK= BASELINE= DAY=
	@$(call run,ops.shadow)

capacity: .venv/ready ## queue age, concurrency and cost of a million images, by memory size and rate; limits
	@$(BIN)/python -m ops.capacity

nightly: .venv/ready ## score build/model on its test pictures, on the local AWS, and print the report's path: DATA=folder with test/ SHARED= STACK=local
	@$(call run,local.nightly)

testset: .venv/ready ## upload a test set to a stack, by default the test pictures of the build: DIR=folder with a folder for each label, STACK= MODEL= DELETE=1
	@$(call run,ops.testset)

split: .venv/ready ## write the build's splits as folders: DATA=pictures OUT=pictures-split
	@$(call run,model_build.data.split_folders)

test: ## lint, types, the template's checks and all tests, in random order
	@echo "installing, lint, validate: what each prints follows when it has ended"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint validate test-layers
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-layers: .venv/ready
	@$(BIN)/python -m layers --libraries-only --architecture x86_64
	@$(BIN)/python -m layers.runtime_python

service_tests := tests/labeller/test_storage.py tests/classify/test_handler.py tests/classify/test_backfill.py
SERVICE ?= ministack localstack dynalite
test-services: .venv/ready $(SERVICE:%=.venv-%/ready) ## the tests of the calls to AWS, against other implementations of it: SERVICE=ministack|localstack|dynalite
	@for service in $(SERVICE); do echo "against $$service"; $(BIN)/python -m pytest --service $$service $(service_tests) || exit; done

mutants: .venv/ready .venv-mutants/ready ## change the code in one place at a time, list what no test notices: MODULES="labeller.* ..." SAMPLE=10 SEED=0 MINUTES=60
	@$(call run,tests.mutants.__main__)

bench: .venv/ready .venv-sam/ready .venv-bench/ready ## measure other runtimes, handler, cold start, build, night, strangers: WEIGHTS= DATA= MODEL= STRANGERS= QUICK=1 ONLY="inference ..."
	@$(call run,bench.__main__)

lint: .venv/ready ## ruff, mypy and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

validate: .venv-sam/ready .venv-checkov/ready ## template.yaml: sam validate --lint (cfn-lint), checkov (security rules)
	@AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-eu-central-1} $(SAM) validate --lint
	@$(CHECKOV) --file template.yaml --framework cloudformation --skip-download --compact --quiet

deploy: layer build ## deploy to your AWS account: ENV=dev|prod of samconfig.toml, or GUIDED=1 to be asked; ARCH= HEIC=0 ALLOW_REPLACE=1
	@$(call run,ops.deploy)

attach: .venv/ready ## have an existing bucket send its events to a stack: BUCKET=name STACK=image-labeller DIRECT=1 GATE=1
	@$(call run,ops.attach)

detach: .venv/ready ## take back what `make attach` did to a bucket: BUCKET=name STACK=image-labeller
	@$(call run,ops.detach)

redrive: .venv/ready ## return the messages of the dead-letter queue to the queue: STACK=image-labeller
	@$(call run,ops.redrive)

lock: .venv/ready ## resolve pyproject.toml's dependencies into the pinned requirements/*.txt: UPGRADE=1
	@requirements/lock $(if $(UPGRADE),--upgrade)

clean: ## remove everything that was built, except the environments
	rm -rf build .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: requirements/dev.txt requirements/installer.txt pyproject.toml
	@requirements/install "$(PYTHON)" .venv -r requirements/dev.txt -e .
	@touch $@

.venv-localstack/ready: requirements/localstack.txt requirements/installer.txt
	@requirements/install "$$($(BIN)/python -c 'from layers.runtime_python import find_runtime_python; print(find_runtime_python() or "")')" .venv-localstack -r requirements/localstack.txt
	@touch $@

.venv-dynalite/ready: requirements/dynalite/package.json requirements/dynalite/package-lock.json
	@command -v npm > /dev/null || { echo "error: dynalite needs Node.js and npm. Leave it out: SERVICE=ministack" >&2; exit 1; }
	@mkdir -p .venv-dynalite && cp requirements/dynalite/*.json .venv-dynalite
	@npm ci --prefix .venv-dynalite --no-audit --no-fund --silent
	@touch $@

.venv-%/ready: requirements/%.txt requirements/installer.txt
	@requirements/install "$(PYTHON)" .venv-$* -r requirements/$*.txt
	@touch $@
