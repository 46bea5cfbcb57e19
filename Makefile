.DEFAULT_GOAL := help
.PHONY: help run test check tls-check sanitize soak lint bench format fuzz image install clean

help: ## Show what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, build, and run the gateway before both sample applications
	@scripts/run

test: ## Install what is missing, build, and run every test
	@scripts/test

check: ## What continuous integration runs: every test, then the lint
	@scripts/test
	@scripts/lint

tls-check: ## Let sslyze and testssl look at the gateway's TLS
	@scripts/tls-check

SANITIZE ?=
sanitize: ## Run the end-to-end tests under AddressSanitizer, then ThreadSanitizer
	@scripts/sanitize $(SANITIZE)

SOAK_SECONDS ?= 1200
soak: ## Keep the gateway at full load among reloads, deaths and departures for 20 minutes or SOAK_SECONDS
	@scripts/soak $(SOAK_SECONDS)

lint: ## Check the style of Swift, shell and Python
	@scripts/lint

format: ## Rewrite Swift and Python in this style
	@scripts/format

bench: ## Measure against haproxy, nginx and a floor
	@scripts/install run bench
	@bench/run --check

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz every parser, each for a minute or FUZZ_SECONDS
	@scripts/install fuzz
	@fuzz/run $(FUZZ_SECONDS)

image: ## Assemble the root filesystem of the container image under .dev/image
	@scripts/install run
	@scripts/image-rootfs .dev/image

install: ## Install what running and testing need
	@scripts/install run test lint

clean: ## Remove what was built and what the samples stored
	rm -rf .build .dev
