# Two main targets: `make run` demonstrates the firewall, `make test` runs all tests.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: all deps build run test test-deps lab kernel-tests long-tests fuzz differential testbed bench bench-traffic bench-logger install deb deb-deps test-package

TOOLS := iptables ip6tables ipset ebtables nft conntrack ip python3 mandoc
PACKAGES := iptables ipset ebtables nftables conntrack iproute2 netbase python3 mandoc

all: build

# $(call needs,TOOLS,PACKAGES): installs the packages unless all tools are installed
needs = @missing=; for tool in $(1); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing=1; done; \
	test -z "$$missing" || scripts/install-packages $(2)

# Installs the Debian packages that the firewall and its tests need; no network access if all are installed
deps:
	$(call needs,$(TOOLS),$(PACKAGES))
	@test -e /etc/services || scripts/install-packages netbase

build:
	cargo build --release --locked

# Runs the firewall with the configuration in examples/pve, in network namespaces
run: deps build
	@examples/tour.sh

# Most tests wait for the kernel, so more of them run at a time than there are processors
THREADS = $(shell echo $$((3 * $$(nproc))))
test: deps test-deps
	RUST_TEST_THREADS=$(THREADS) cargo test --locked

# Packages for the tests only: an IPS, an FTP server and client, libfaketime, strace (kills at system calls), an SSH server
test-deps:
	$(call needs,suricata vsftpd curl faketime strace sshd,--no-install-recommends suricata vsftpd curl faketime strace openssh-server openssh-client)

# Long run of the fault injection and random configuration tests, two hours, then under the kernels of Debian 12 and 13
long-tests: deps
	PVEFW_LONG_TESTS=1 cargo test --locked --test faults
	PVEFW_LONG_TESTS=1 cargo test --locked --test kernel -- interruptions:: daemon:: scale::
	PVEFW_TREES=2600 cargo test --locked --test kernel hostile:: -- --nocapture
	PVEFW_TREES=2500 cargo test --locked --test nftables hostile:: -- --nocapture
	PVEFW_LONG_TESTS=1 cargo test --locked --test nftables backends:: -- --nocapture
	PVEFW_CYCLES=10000 cargo test --locked --test resources cycles:: -- --nocapture
	tests/lab/run.sh --long $(SUITES)

# Runs the tests that depend on the kernel and tools under the kernels of Debian 12 and 13, emulated by QEMU without KVM. The first run creates the
# images with mmdebstrap below /var/cache/pve-firewall-rs/lab; later runs need no network access. See tests/lab/run.sh
SUITES := bookworm trixie
lab: deps
	tests/lab/run.sh $(SUITES)

# Runs the same test programs on this machine's kernel; the kernel must have all modules that tests/lab/tests.sh lists
kernel-tests: deps test-deps
	tests/lab/run.sh here

# Runs the fuzz targets for configuration files and tool output, five minutes each; needs cargo-fuzz and a nightly toolchain
fuzz:
	fuzz/run

# Long comparison of simulator and kernel, for each backend: 400 configurations with 150 packets each; SEED=N sets the random seed.
# With nftables, rules for guests need a kernel that tracks connections in bridges
SEED ?= 1
differential: deps
	DIFFERENTIAL=400,150 DIFFERENTIAL_SEED=$(SEED) cargo test --locked --test kernel --test nftables differential:: -- --nocapture

# Opens a shell on the node of the test bed
testbed: deps
	cargo run --quiet --locked --example testbed

# Measures the cost for nodes of 10 to 1,000 guests, compared with the tools alone on the same rules: see docs/performance.md
bench: deps
	cargo bench --locked --bench node

# Measures the cost of a packet with 10 to 4,000 firewalled devices and both variants of iptables; see docs/performance.md
bench-traffic: deps
	cargo bench --locked --bench traffic

# Floods the logger in a network namespace for about a minute and measures drops, CPU time and memory
bench-logger: deps
	cargo bench --locked --bench logger

# Installs the files of the package below DESTDIR
install: build
	install -Dt $(DESTDIR)/usr/sbin target/release/pve-firewall target/release/pvefw-logger
	install -Dt $(DESTDIR)/usr/libexec/proxmox target/release/proxmox-firewall
	install -Dm 0644 -t $(DESTDIR)/usr/lib/systemd/system pve-firewall.service pvefw-logger.service proxmox-firewall.service
	install -Dm 0644 debian/sysctl.conf $(DESTDIR)/usr/lib/sysctl.d/pve-firewall.conf
	install -Dm 0644 debian/modules.conf $(DESTDIR)/usr/lib/modules-load.d/pve-firewall-rs.conf
	install -Dm 0644 debian/rotation $(DESTDIR)/etc/logrotate.d/firewall-rs
	install -Dm 0644 -t $(DESTDIR)/usr/share/man/man8 man/pve-firewall.8 man/pvefw-logger.8 man/proxmox-firewall.8
	install -Dm 0644 -t $(DESTDIR)/usr/share/man/man5 man/pve-firewall.fw.5
	install -Dm 0644 -t $(DESTDIR)/usr/share/doc/pve-firewall-rs README.md
	mkdir -p $(DESTDIR)/usr/share/doc/pve-firewall-rs/examples
	cp -r examples/pve $(DESTDIR)/usr/share/doc/pve-firewall-rs/examples/
	mkdir -p $(DESTDIR)/usr/share/bash-completion/completions $(DESTDIR)/usr/share/zsh/vendor-completions
	COMPLETE=bash target/release/pve-firewall >$(DESTDIR)/usr/share/bash-completion/completions/pve-firewall
	COMPLETE=zsh target/release/pve-firewall >$(DESTDIR)/usr/share/zsh/vendor-completions/_pve-firewall
	COMPLETE=bash target/release/proxmox-firewall >$(DESTDIR)/usr/share/bash-completion/completions/proxmox-firewall
	COMPLETE=zsh target/release/proxmox-firewall >$(DESTDIR)/usr/share/zsh/vendor-completions/_proxmox-firewall

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)

# Builds the Debian package in target/, with this version and the time of the last commit
deb: deb-deps
	printf '%s\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "pve-firewall-rs ($(VERSION)) unstable; urgency=medium" \
		"$$(sed -n 's/^Maintainer: //p' debian/control)" "$$(git log -1 --format=%cD)" >debian/changelog
	dpkg-buildpackage --root-command=fakeroot --target=binary --no-check-builddeps

deb-deps:
	$(call needs,dh dpkg-buildpackage fakeroot,--no-install-recommends debhelper dpkg-dev fakeroot)

# Tests the package in a Debian container with systemd: installation, upgrade, removal, purge, the units. The package is
# built without network access; crates and tools are downloaded before. The first run creates the container's file system
# with mmdebstrap, one for each release, below /var/cache/pve-firewall-rs
test-package: deb-deps
	$(call needs,lintian mmdebstrap systemd-nspawn,--no-install-recommends lintian mmdebstrap systemd-container)
	cargo fetch --quiet --locked
	unshare --net $(MAKE) deb
	lintian --allow-root --display-info --fail-on error,warning,info target/pve-firewall-rs_$(VERSION)_*.deb
	for suite in $(SUITES); do tests/package/run.sh target/pve-firewall-rs_$(VERSION)_*.deb $$suite || exit; done
