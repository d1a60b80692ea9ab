# Everything that is done to this project by hand. The first target says what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help check demo demo-hang test test-toolchains test-repros test-intervals bench soak lint engine image module lock clean

# A command with the engine's address in its environment; makes sure first that an engine answers.
with_engine = host="$$(images/engine.sh)"; DOCKER_HOST="$$(tail -n 1 <<<"$$host")"; export DOCKER_HOST;

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build three crates of pytests/ and run their tests, each pytest test a Go subtest, live
	@$(with_engine) go test -v -count=1 -p 1 ./pytests/modern ./pytests/legacy ./pytests/outcomes

demo-hang: ## show three hangs as a user meets them: named, with their cause, among tests that pass
	@$(with_engine) PYO3TEST_DEMO=1 go test -v -count=1 -run '^TestDemo$$' ./pytests/hangs || true

check: ## lint, and run the tests that need no Docker engine: a minute
	@.ci/check

test: ## run all tests of this project
	@$(with_engine) go test -timeout 80m ./...

test-toolchains: ## hang in every known way on each Python and Rust, compare what is said of it, and run real projects there
	@$(with_engine) go test -tags toolchains -v -count=1 -p 1 -timeout 120m -run '^TestToolchains$$' ./pytests/hangs \
		./harness/internal/selftest/projects

test-repros: ## run each hang again from its bundle, measure what pressure does to races, and that it harms no healthy suite
	@$(with_engine) go test -tags repros -v -count=1 -p 1 -timeout 120m -run '^(TestRepros|TestRates|TestHealthy)$$' ./pytests/hangs ./pytests/races \
		./harness/internal/selftest/projects

test-intervals: ## measure a rate a hundred times, and check that the intervals have it in them; takes two hours
	@$(with_engine) go test -tags repros -v -count=1 -timeout 240m -run '^TestIntervals$$' ./pytests/races

bench: ## measure what is said about speed, as ratios within one run; leave the machine alone meanwhile
	@$(with_engine) go test -tags bench -v -count=1 -timeout 90m -run '^TestBench$$' ./harness

soak: ## end runs, and the making of images, at random moments in every way there is, and check what they leave; takes an hour
	@$(with_engine) go test -tags soak -v -count=1 -timeout 180m -run '^TestSoak' ./harness

lint: ## look at all Go, Python and shell files
	@.ci/lint

engine: ## make sure that a Docker engine answers: find, start or install one
	@images/engine.sh

image: ## make the base image and the tools image, if they are not there
	@$(with_engine) go test -v -count=1 ./harness/internal/agent -run TestToolsImage

module: ## give a copy of this module another path, to publish it: make module NAME=example.com/you/pyo3test
	@[[ -n "$${NAME:-}" ]] || { echo "make module: set NAME to the new path" >&2; exit 2; }
	@go mod edit -module="$$NAME"
	@grep -rlE '"pyo3test/' --include='*.go' . | xargs sed -i "s|\"pyo3test/|\"$$NAME/|g"
	@go build ./...

lock: ## lock the newest versions of the Python tools, with hashes
	@images/lock.sh

clean: ## remove what this project has put into the engine and into the cache folder
	@$(with_engine) go run ./harness/cmd/pyo3test clean
