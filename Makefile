# Everything a newcomer needs: `make run` starts the product, `make test` proves it.

SHELL := /bin/bash
GOLANGCI := golangci-lint-2.15.0
AIR := github.com/air-verse/air@v1.67.4
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
TESTFLAGS ?=
DURATION ?= 15m
# Tests wait more than they compute. What go vet has to say, `make lint` says.
QUICKLY := -p 3 -parallel 4 -vet=off
# The packages that take longest begin first, beside the others and not after them.
LONGEST_FIRST := ./test ./runner ./...

.DEFAULT_GOAL := help
.PHONY: help setup build run dev test test-all test-engine test-engine-mutations test-mutations test-isolation test-pg16 soak bench race lint fmt check generate verify clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: ## install what the build and the tests need (npm packages; bubblewrap and git when root)
	@scripts/setup

build: setup ## build bin/corp with PostgreSQL inside
	@go run ./postgres/embedded/bundler
	@CGO_ENABLED=0 go build -trimpath -tags embedpg -ldflags '$(LDFLAGS)' -o bin/corp ./cmd/corp
	@echo "built bin/corp $(VERSION)"

run: build ## build and start everything; ctrl-c stops it
	@exec ./bin/corp up

dev: setup ## the same from source, started again at every change
	@go run $(AIR) -c .air.toml

test: setup ## the whole suite (about five minutes on two cores)
	@go test $(QUICKLY) $(TESTFLAGS) $(LONGEST_FIRST)

test-all: setup ## the suite under the race detector, concurrent packages repeated
	@go test -race $(TESTFLAGS) $(LONGEST_FIRST)
	@go test -race -count=5 ./scheduler ./dispatch ./feed ./gateway/... ./runner/acp ./vendorsim

test-engine: build ## the conformance and fault suite: real processes, real kills (about 15 minutes)
	@go test -tags engine -count=1 -timeout 40m -v $(TESTFLAGS) ./scheduler ./test/engine/...

test-engine-mutations: setup ## deliberate faults, which the suite must notice, each (about 25 minutes)
	@go test -trimpath -tags mutations -count=1 -timeout 60m -parallel 2 -v $(TESTFLAGS) ./test/engine

test-mutations: setup ## every lock of the database, right and check of who may do what taken away, one at a time: each must be noticed (about 40 minutes)
	@go test -trimpath -tags mutations -count=1 -timeout 30m -v -run TestEveryMissingLock $(TESTFLAGS) ./postgres
	@go test -trimpath -tags mutations -count=1 -timeout 30m -v -run TestEveryRightThatNobody $(TESTFLAGS) ./api
	@go test -trimpath -tags mutations -count=1 -timeout 60m -v -run TestEveryCheck $(TESTFLAGS) ./test/mutations

test-isolation: setup ## a hundred at once on few connections, and through PgBouncer: 100,000 operations each, under the race detector; ten customers for a minute
	@go test -race -tags isolation -count=1 -timeout 30m -v -run Bleeds $(TESTFLAGS) ./postgres
	@go test -tags isolation -count=1 -v -run Residents $(TESTFLAGS) ./test

test-pg16: setup ## the database suites on PostgreSQL 16
	@CORP_TEST_POSTGRES=16 go test -count=1 $(TESTFLAGS) ./postgres ./dispatch ./reconcile ./feed ./api

soak: build ## two servers, three runners, random load and kills; DURATION=15m
	@DURATION=$(DURATION) go test -tags soak -count=1 -timeout 0 -v ./test/engine/...

bench: ## the benchmarks beside their peers; prints ratios
	@bench/run

race: setup ## the suite under the race detector
	@go test -race $(TESTFLAGS) $(LONGEST_FIRST)

lint: bin/$(GOLANGCI) ## static checks
	@go vet ./...
	@bin/$(GOLANGCI) run ./...

bin/$(GOLANGCI):
	@GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	@mv bin/golangci-lint $@

fmt: bin/$(GOLANGCI) ## format
	@bin/$(GOLANGCI) fmt ./...

generate: ## write generated files again (docs/openapi.yaml, docs/security/cases.md)
	@go test ./api -run Document -update >/dev/null
	@go test ./test/cases -update >/dev/null

verify: ## fail when a generated file or go.mod is not up to date
	@go mod tidy -diff
	@go test ./api -run Document -count=1
	@go test ./test/cases -count=1

check: lint verify race build ## what CI runs

clean: ## remove what was built
	@rm -rf bin postgres/embedded/bundle/*.tar.zst
