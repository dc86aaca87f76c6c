# make deps         what building and testing need, from Debian
# make all          the command, the plugins and the guest's init image
# make kernel       the guest's kernel; "make kernel initrd ARCH=arm64" for guests of another architecture
# make demo         from a fresh clone to a container in its own VM, saying what it does
# make test         everything that is tested; the last line has the totals
# make integration  only what boots virtual machines
# make fuzz         each fuzz test for FUZZTIME, 1m by default
# make lint         everything a machine can say about the source
# make protos       what is generated from the protocols
# make docs         docs/cli.md
# make parity       docs/parity.md, from what make test has found
# make bench        docs/benchmarks.md
# make install      into PREFIX, /usr/local by default
# make clean        removes what was built; the kernel's cache stays

# Where make deps puts a Go if the machine has none that is new enough.
export PATH := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vzctl/go/bin:$(PATH)

ARCH    ?= $(shell uname -m)
PREFIX  ?= /usr/local
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

KARCH   := $(patsubst aarch64,arm64,$(patsubst amd64,x86_64,$(ARCH)))
OCIARCH := $(patsubst x86_64,amd64,$(KARCH))
# The init image of the host's own architecture has no name of it.
FOREIGN := $(if $(filter $(KARCH),$(patsubst aarch64,arm64,$(shell uname -m))),,-$(OCIARCH))
LDFLAGS := -s -w -X main.version=$(VERSION)
# What would make tables at the start of each process, and is not used: gRPC's pages about itself, the manual as the library of commands writes it.
TAGS    := grpcnotrace,urfave_cli_no_docs
GOBUILD  = CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)"
# The guest's runtime does without preemption by signals, and does not look for CPUs that come and go: where the CPU is emulated that costs more than it brings.
initrd: LDFLAGS += -X runtime.godebugDefault=asyncpreemptoff=1,updatemaxprocs=0

SOURCES := ./cmd/... ./core/... ./guest/... ./kernel/... ./plugins/... ./sdk/... ./test/...

# Packages whose tests boot machines run one after the other: two machines on two cores only measure each other.
VM_PACKAGES   = $(sort $(dir $(shell grep -rlE --include='*_test.go' '^func Test(VM|E2E)' cmd core guest kernel plugins sdk test)))
UNIT_PACKAGES = $(filter-out $(patsubst %/,github.com/vzctl/vzctl/%,$(VM_PACKAGES)),$(shell PATH="$(PATH)" go list $(SOURCES)))

.PHONY: all deps cli plugins initrd kernel fetch-default-kernel demo test integration fuzz lint protos bench docs parity install clean help
.DELETE_ON_ERROR:

all: cli plugins initrd

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# go build knows what changed; there is nothing for make to know.
cli:
	@mkdir -p bin
	$(GOBUILD) -o bin/vzctl ./cmd/vzctl

plugins:
	@mkdir -p libexec/vzctl/plugins
	$(GOBUILD) -o libexec/vzctl/plugins/ $$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' $(addprefix ./,$(sort $(dir $(wildcard plugins/*/main.go)))))

initrd:
	@mkdir -p build libexec/vzctl
	GOOS=linux GOARCH=$(OCIARCH) $(GOBUILD) -o build/vminitd$(FOREIGN) ./guest/vminitd
	go run ./guest/initrd -o libexec/vzctl/initrd$(FOREIGN).cpio build/vminitd$(FOREIGN)

kernel:
	@kernel/build.sh --arch $(KARCH) --out $(CURDIR)/build/kernels
	@mkdir -p libexec/vzctl/kernels/$(KARCH)
	@cmp -s build/kernels/$(KARCH)/kernel.json libexec/vzctl/kernels/$(KARCH)/kernel.json || \
		cp build/kernels/$(KARCH)/* libexec/vzctl/kernels/$(KARCH)/

fetch-default-kernel:
	@echo "nobody publishes this kernel ready-made yet: it comes out of the cache or is built" >&2
	@$(MAKE) --no-print-directory kernel

deps:
	.ci/deps

demo: deps
	go run ./test/demo

test: all kernel
	go run ./test/count -- -count=1 -p 2 -timeout 20m $(UNIT_PACKAGES) -- -count=1 -p 1 -timeout 40m $(addprefix ./,$(VM_PACKAGES))

integration: all kernel
	go run ./test/count -- -count=1 -p 1 -timeout 40m -run '^Test(VM|E2E)' $(addprefix ./,$(VM_PACKAGES))

fuzz:
	.ci/fuzz $(FUZZ)

lint:
	.ci/lint

protos:
	sh sdk/proto/generate.sh

bench: all kernel
	go run ./test/bench -o docs/benchmarks.md

docs: cli
	bin/vzctl docs >docs/cli.md

# EVENTS are files with the output of go test -json.
EVENTS ?= build/test-events.json
parity:
	go run ./test/parity -o docs/parity.md $(EVENTS)

install: all kernel
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/vzctl/plugins $(DESTDIR)$(PREFIX)/libexec/vzctl/kernels
	install bin/vzctl $(DESTDIR)$(PREFIX)/bin/
	install libexec/vzctl/plugins/* $(DESTDIR)$(PREFIX)/libexec/vzctl/plugins/
	install -m 644 libexec/vzctl/initrd*.cpio $(DESTDIR)$(PREFIX)/libexec/vzctl/
	cp -R libexec/vzctl/kernels/. $(DESTDIR)$(PREFIX)/libexec/vzctl/kernels/

# The kernel's cache lies outside the tree and stays.
clean:
	rm -rf bin build libexec
