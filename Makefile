# Two commands: `make run` shows the firewall at work, `make test` runs every test.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: all deps build run test bench-logger

TOOLS := iptables ip6tables ipset ebtables conntrack ip python3
PACKAGES := iptables ipset ebtables conntrack iproute2 netbase python3

all: build

# Debian's packages that the firewall and its tests use; nothing is asked of the network when all are there
deps:
	@missing=; for tool in $(TOOLS); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing=1; done; \
	test -e /etc/services || missing=1; \
	if [ -n "$$missing" ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES); fi

build:
	cargo build --release --locked

# the firewall at work on the configuration of examples/pve, in network namespaces
run: deps build
	@examples/tour.sh

test: deps
	cargo test --locked

# Floods the logger in a network namespace of its own, for about a minute: what it loses, costs and needs
bench-logger: deps
	cargo bench --locked --bench logger
