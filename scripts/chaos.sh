#!/usr/bin/env bash
# Real nodes in network namespaces, more than 200 client sessions, a fault about every ten seconds, and a verdict.
#
#   scripts/chaos.sh --nodes 3 --minutes 5 [--seed S] [--faults KIND,KIND] [--keep DIR]
#
# Needs root, ip and nft (Debian, Ubuntu: apt-get install -y iproute2 nftables), and says so in one line without them.
# Exit codes: 0 every promise kept, 1 one broken (the history is kept), 2 not possible here, or wrong usage.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
# -P: --keep is relative to where the caller stands, and no folder of theirs may take the place of one of ours.
PYTHONPATH="$ROLLBOOK_ROOT${PYTHONPATH:+:$PYTHONPATH}" exec "$ROLLBOOK_PYTHON" -P -m tests.chaos "$@"
