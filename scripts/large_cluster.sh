#!/usr/bin/env bash
# Fifty simulated nodes with lost frames and slow nodes for a virtual hour, and the other figures of large clusters.
set -euo pipefail

usage() {
    echo "usage: scripts/large_cluster.sh [MINUTES]   (virtual minutes of the long watch over fifty nodes, default 60)"
}

case "${1-60}" in
    -h | --help)
        usage
        exit 0
        ;;
    *[!0-9.]* | '' | . | *.*.*)
        usage >&2
        exit 2
        ;;
esac
if (($# > 1)); then
    usage >&2
    exit 2
fi

source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"
ROLLBOOK_LARGE_MINUTES="${1-60}" exec "$ROLLBOOK_PYTHON" -m pytest tests/simulation/test_large_clusters.py
