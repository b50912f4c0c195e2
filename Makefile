# Every command of the project. `make` alone lists them. Each sets up what it needs first, in a cache outside this
# folder (/var/cache/helios as root, ~/.cache/helios otherwise, or $HELIOS_CACHE), and is quick when that is there.
# The work is done by .make/helios_make.

.DEFAULT_GOAL := help
SHELL := /bin/sh
TARGETS := run test test-terraform test-pulumi drivers e2e cluster cluster-down images lint generate generate-check sdks provider bench canary failover replay monitoring mutations fuzz doctor clean lock
.PHONY: help $(TARGETS)

# $(value …) hands the text over as it was typed, so that a `$` in CMD reaches the command's shell.
export HELIOS_CMD := $(value CMD)
export HELIOS_FILE := $(value FILE)
export HELIOS_SELECT := $(value SELECT)
export HELIOS_SECONDS := $(value SECONDS)
export HELIOS_LEVEL := $(value LEVEL)
export HELIOS_MINUTES := $(value MINUTES)
export HELIOS_KILLS := $(value KILLS)
export HELIOS_KEEP := $(value KEEP)
ifdef PROFILE
export PROFILE
endif
unexport CMD FILE SELECT SECONDS LEVEL MINUTES KILLS KEEP

help:
	@echo 'usage: make TARGET'
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-17s %s\n", $$1, $$2 }'

run: ## PostgreSQL behind Helios on this machine; FILE=examples/… another YAML, CMD="…" runs a command and ends
test: ## every test, one table at the end; SELECT="rust wire" tiers, SELECT=e2e/… paths, SELECT=scram part of a name
test-terraform: ## the Terraform provider under terraform and OpenTofu, on a real API server; SELECT as above, or smoke
test-pulumi: ## the Pulumi provider under Pulumi's own command line, likewise
drivers: ## real drivers of five languages, directly and through Helios with the same answers; SELECT as above
e2e: ## the tests on Kubernetes; LEVEL=node (apiserver, kind, kubeconfig) that one only, SELECT=smoke, a path or a name
cluster: ## a Kubernetes cluster on this machine that stays: LEVEL=apiserver or node; eval "$(make -s cluster)"
cluster-down: ## end it, and remove what killed runs left
images: ## the images of proxy and operator, built from their Dockerfiles
lint: ## ruff, mypy, import-linter, stubtest, rustfmt, clippy
generate: ## write CRDs, JSON Schema and reference pages from the models
generate-check: ## fail when what is generated is stale
sdks: ## write Pulumi's SDKs from its schema, by Pulumi's generators
provider: ## the Terraform provider for this platform as a zip that needs no Python, with its sums
bench: ## Helios beside PgBouncer, figures into bench/RESULTS.md
canary: ## clients that know their own value, disturbed in every way for MINUTES=1: a foreign value fails
failover: ## kill the primary KILLS=30 times under load, and switch over: figures into e2e/behaviour/FAILOVER.md
replay: ## cut a transaction at each of its messages, kill under a long cursor: figures into e2e/behaviour/REPLAY.md
monitoring: ## dashboard and alerts before a real Prometheus that scrapes a running proxy
mutations: ## seed one fault for each group of the protocol checklist into an engine: each must turn a test red
fuzz: ## every fuzz target for SECONDS=60 each, and plans of 100 000 pairs of texts; KEEP=1 writes the kept corpus anew
doctor: ## look at this machine: one line a check, one remedy a line
clean: ## remove what was made for this clone (the cache's shared part stays)
lock: ## requirements/*.txt anew from pyproject.toml

$(TARGETS):
	@.make/run $@
