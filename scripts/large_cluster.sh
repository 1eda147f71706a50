#!/usr/bin/env bash
# Fifty simulated nodes with lost frames and slow nodes for a virtual hour, and the other figures of large clusters:
# scripts/large_cluster.sh [minutes]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"
ROLLBOOK_LARGE_MINUTES="${1:-60}" exec "$ROLLBOOK_PYTHON" -m pytest tests/simulation/test_large_clusters.py
