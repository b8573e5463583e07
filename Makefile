# `make help` lists the targets.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BIN     := bin/publish
MODEL   ?= 10m
FUZZTIME ?= 10m
# Who answers for the packages, as NAME <ADDRESS>: the author of the commit, if nobody else.
MAINTAINER ?=
# A secret key of minisign that signs the checksums of a release.
MINISIGN_KEY ?=

# The repository's owner may be another user than the one who builds.
export GOFLAGS := -buildvcs=false $(GOFLAGS)

# What bench runs beside publish.
PEERS := ostree aptly rsync openssl skopeo umoci docker-registry
BENCH ?=
# More flags of go test for make test.
TESTFLAGS ?=

PACKAGES := gcc libc6-dev nginx squashfs-tools busybox-static strace systemd xz-utils zstd btrfs-progs xfsprogs \
    skopeo umoci curl openssh-client openssh-server gpg gpg-agent gpgv minisign

# Engines and tools of others that load what export writes; make check does without them.
ENGINES := docker.io containerd runc podman crun
CLIENTS := oras.land/oras/cmd/oras@v1.3.6 github.com/regclient/regclient/cmd/regctl@v0.11.7 \
    github.com/google/go-containerregistry/cmd/crane@v0.22.1 github.com/distribution/distribution/v3/cmd/registry@v3.1.2 \
    github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111

.DEFAULT_GOAL := build
.PHONY: help build install release release-check demo test test-busy check gotest vet walls tools deps crash powercut interop load incusd model faults fuzz bench profile peers clients store axe clean

## build: the static binary, bin/publish
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/publish

## install: binary, man pages, completions and systemd units below DESTDIR and PREFIX (default /usr/local)
install: build
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/man/man1' '$(DESTDIR)$(PREFIX)/share/man/man7' \
	    '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' \
	    '$(DESTDIR)$(PREFIX)/share/zsh/site-functions' \
	    '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d' \
	    '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	install -m 0755 $(BIN) '$(DESTDIR)$(PREFIX)/bin/publish'
	$(BIN) man > bin/publish.1
	$(BIN) completion bash > bin/publish.bash
	$(BIN) completion zsh > bin/_publish
	$(BIN) completion fish > bin/publish.fish
	install -m 0644 bin/publish.1 '$(DESTDIR)$(PREFIX)/share/man/man1/publish.1'
	for guide in cmd/publish/guide/*.md; do \
	    topic=$${guide##*/}; topic=$${topic%.md}; \
	    $(BIN) man "$$topic" > "bin/publish-$$topic.7" && \
	    install -m 0644 "bin/publish-$$topic.7" '$(DESTDIR)$(PREFIX)/share/man/man7/' || exit 1; \
	done
	install -m 0644 bin/publish.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/publish'
	install -m 0644 bin/_publish '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_publish'
	install -m 0644 bin/publish.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/publish.fish'
	for unit in scripts/systemd/*@.*; do \
	    sed 's|/usr/local/bin/|$(PREFIX)/bin/|' "$$unit" > bin/unit && \
	    install -m 0644 bin/unit '$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$${unit##*/}" || exit 1; \
	done; rm -f bin/unit

## release: packages, archives, an image and checksums of VERSION=v1.2.3, in dist (MINISIGN_KEY=FILE signs them)
release:
	@mkdir -p bin && cd scripts/release && $(GO) build -o ../../bin/release .
	bin/release -version '$(VERSION)' -source . -out dist -maintainer '$(MAINTAINER)'
	@test -z '$(MINISIGN_KEY)' || minisign -S -s '$(MINISIGN_KEY)' -m dist/SHA256SUMS -t 'publish $(VERSION)'

## release-check: make a release twice, install, use, upgrade and remove it in a Debian, and load its image (root; minutes)
release-check:
	scripts/install-packages debootstrap lintian minisign rpm skopeo podman docker.io containerd runc
	scripts/release-check

## demo: make a sample image, stage it, promote it, revert it
demo: build
	@scripts/demo $(BIN)

## test: the program's own tests, some minutes; a test whose tool is missing is skipped and named at the end
test:
	@echo 'building the tests; then a line for each package as it ends, and what is at work'
	@$(MAKE) --no-print-directory gotest
	@bin/gotest -timeout 60m $(TESTFLAGS) ./...

## test-busy: the same beside eight processes that burn the processor and eight that write and flush (minutes)
test-busy:
	@scripts/busy 8 $(MAKE) --no-print-directory test TESTFLAGS=-count=1

# Tests that start this test binary again for each step of a command, and models: most of what they take
# with the race detector is to start with it.
FORKING := Crash|Killed|StoppedWhile|Model
# Some tests build the program: the results of another one do not count.
ONCE := -count=1 -timeout 3h
# The race detector takes up to ten times as long.
RACE := -race $(ONCE)

## check: all that CI checks, with the tests that take long and the race detector (minutes; each part says what it is)
check: export PUBLISH_TEST_LONG := 1
check:
	@echo 'check 1 of 6: format, vet, staticcheck, other Unixes'
	@$(MAKE) --no-print-directory gotest
	@$(MAKE) --no-print-directory vet
	@echo 'check 2 of 6: the import walls'
	@$(MAKE) --no-print-directory walls
	@echo 'check 3 of 6: the tests of the packages with the race detector; then those that start many processes, without it'
	@bin/gotest $(RACE) -skip '$(FORKING)' ./publish/... ./retention/... ./stage/...
	@PUBLISH_TEST_LONG= bin/gotest $(ONCE) -run '$(FORKING)' ./publish/... ./retention/... ./stage/... & \
	    bin/gotest $(ONCE) ./cmd/...; commands=$$?; wait $$! && exit $$commands
	@echo 'check 4 of 6: the scripts: kills at system calls, power cuts and the cases of the benchmark in short'
	@bin/gotest $(ONCE) -v ./scripts/...
	@echo 'check 5 of 6: the tools; the release maker'
	@cd scripts/tools && ../../bin/gotest -count=1 ./...
	@cd scripts/release && ../../bin/gotest -count=1 ./...
	@echo 'check 6 of 6: the model, three hundred sequences of commands in each switch mode; and meanwhile the Incus'
	@echo 'client library, incus-simplestreams and nginx'
	@bin/gotest -v $(ONCE) -run '^TestModel$$' ./publish -rapid.checks=300 -rapid.steps=15 & \
	    (cd scripts/interop && ../../bin/gotest $(ONCE) ./...); others=$$?; wait $$! && exit $$others
	@echo 'check: all 6 parts passed'

gotest:
	@mkdir -p bin && $(GO) build -o bin/gotest ./scripts/gotest

## vet: format, vet and staticcheck, and that it compiles for other Unixes
vet: tools
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags profile ./cmd/publish
	GOOS=freebsd $(GO) build -o /dev/null ./...
	cd scripts/tools && $(GO) vet ./...
	cd scripts/interop && $(GO) vet ./...
	cd scripts/release && $(GO) vet ./...
	bin/staticcheck ./...
	cd scripts/tools && ../../bin/staticcheck ./...
	cd scripts/interop && ../../bin/staticcheck ./...
	cd scripts/release && ../../bin/staticcheck ./...

## walls: the import rules of .depguard.yaml
walls: tools
	bin/walls ./...

tools:
	@mkdir -p bin && cd scripts/tools && $(GO) build -o ../../bin/ honnef.co/go/tools/cmd/staticcheck ./walls

## crash: kill every verb at every writing system call, and at every request to an object store, then recover (hours)
crash: build
	@mkdir -p bin && $(GO) build -o bin/crash ./scripts/crash
	bin/crash matrix -publish $(BIN) -faults kill,ENOSPC,EIO,EROFS,request,answer,answer-lost,own-412,503

## powercut: cut the power under every verb on ext4, XFS and btrfs (as root; minutes)
powercut: build
	@mkdir -p bin && $(GO) build -o bin/crash ./scripts/crash
	bin/crash powercut -publish $(BIN)

## interop: the tools, registries and engines of others write into staging, read production and load exports (root; installs them)
interop: build
	scripts/install-packages skopeo umoci chromium squid $(ENGINES)
	@$(MAKE) --no-print-directory clients axe
	cd scripts/interop && PATH="$$PATH:$(CURDIR)/bin" PUBLISH_BIN='$(CURDIR)/$(BIN)' $(GO) test -count=1 -v \
	    -run 'Images|Export|Registry|Pages|Cache|Mirror|Bucket' .

## incusd: a real Incus daemon makes containers of what publish serve serves (root, debootstrap)
incusd: build
	scripts/install-packages debootstrap squashfs-tools busybox-static openssl xz-utils
	scripts/incusd $(BIN)

## model: random sequences of commands, crashes and clock steps against a model, for MODEL (10m) in each switch mode, a mirror, and an object store
model:
	$(GO) test -v -count=1 -timeout 0 -run '^TestModel$$' ./publish -model $(MODEL)
	$(GO) test -v -count=1 -timeout 0 -run '^TestModel$$' ./publish/mirror -model $(MODEL)
	$(GO) test -v -count=1 -timeout 0 -run '^TestModel$$' ./publish/site/bucket -model $(MODEL)

## faults: every way to stop each step of the commands, and every fault at every request to an object store (an hour)
faults: gotest
	PUBLISH_TEST_FAULTS=1 bin/gotest -count=1 -timeout 3h ./publish ./publish/fanout ./publish/site/bucket/...

## fuzz: fuzz every parser for FUZZTIME (10m) with one worker each, JOBS (2) side by side
fuzz:
	JOBS=$(or $(JOBS),2) scripts/fuzz $(FUZZTIME)

## load: nginx, publish serve and the Incus client library read while promotes, reverts, prunes and gcs run (minutes)
load: build
	@mkdir -p bin && cd scripts/interop && $(GO) build -o ../../bin/load ./load
	bin/load -publish $(BIN)
	bin/load -publish $(BIN) -server publish
	bin/load -publish $(BIN) -oci

## bench: measure publish beside its peers, in bin/bench (as root it installs them; 45 minutes, 13 GiB; BENCH='-scale 0.1' for less)
bench: build peers
	@$(GO) build -o bin/bench/bench ./scripts/bench
	PATH="$$PATH:$(CURDIR)/bin" bin/bench/bench -publish $(BIN) -out bin/bench $(BENCH)

## profile: CPU and allocation profiles of the same cases, in bin/profile
profile:
	@rm -rf bin/profile && $(GO) build -o bin/bench/bench ./scripts/bench
	CGO_ENABLED=0 $(GO) build -trimpath -tags profile -ldflags '-X main.version=$(VERSION)' -o bin/publish-profile ./cmd/publish
	bin/bench/bench -publish bin/publish-profile -profile bin/profile $(BENCH)
	@for f in $$(ls bin/profile | sed -n 's/[.][0-9]*[.]cpu$$//p' | sort -u); do \
	    echo; echo "$$f: processor"; $(GO) tool pprof -top -nodecount 12 bin/profile/$$f.*.cpu 2>/dev/null | sed 1,3d; \
	    echo; echo "$$f: allocated"; $(GO) tool pprof -top -nodecount 8 -sample_index alloc_space bin/profile/$$f.*.alloc 2>/dev/null | sed 1,3d; \
	done

# A peer that cannot be had is missing in the table, no more.
peers: clients
	-@$(MAKE) --no-print-directory deps PACKAGES='$(PEERS)'
	-@mkdir -p bin && cd scripts/interop && $(GO) build -o ../../bin/incus-simplestreams github.com/lxc/incus/v6/cmd/incus-simplestreams
	-@mkdir -p bin && cd scripts/interop && $(GO) build -o ../../bin/olareg github.com/olareg/olareg/cmd/olareg

clients:
	-@for client in $(CLIENTS); do GOBIN='$(CURDIR)/bin' $(GO) install "$$client" || exit 1; done

## store: versitygw, an object store for tests of the bucket (3 minutes of a processor; without it they use a fake alone)
store:
	@mkdir -p bin && cd scripts/objectstore && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/versitygw \
	    github.com/versity/versitygw/cmd/versitygw

# axe-core judges whether everybody can use the pages of publish serve.
AXE := 4.14.1
axe:
	-@test -e bin/axe.min.js || { mkdir -p bin/axe && cd bin/axe && npm pack --silent axe-core@$(AXE) >/dev/null && \
	    tar xzf axe-core-$(AXE).tgz && mv package/axe.min.js .. && cd .. && rm -rf axe; }

## deps: install the Debian packages that the tests use, where they are missing (as root)
deps:
	@if [ "$$(id -u)" = 0 ] && command -v dpkg-query >/dev/null; then \
	    missing=; for p in $(PACKAGES); do \
	        dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	    done; \
	    if [ -n "$$missing" ]; then echo "installing$$missing"; scripts/install-packages $$missing; fi; \
	fi

## clean: remove what the other targets made
clean:
	rm -rf bin dist

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | awk -F': ' '{printf "  %-13s %s\n", $$1, substr($$0, length($$1) + 3)}'
