#!/usr/bin/env bash
# Real nodes killed under load, and what they list at the end: scripts/durability.sh --store etcd --rounds 60. More: --help.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"
exec "$ROLLBOOK_PYTHON" -m tests.durability "$@"
