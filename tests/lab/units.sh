#!/usr/bin/env bash
# Tests the systemd units of both backends, one after the other, on a lab machine with systemd: units.sh DIRECTORY
#
# DIRECTORY has the programs.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/lab/unit.sh "$1"
tests/lab/nftables_unit.sh "$1"
