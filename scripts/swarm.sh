#!/usr/bin/env bash
# Random faults on simulated clusters, by seed: scripts/swarm.sh --nodes 3,5,7 --seeds 100. More: --help.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"
exec "$ROLLBOOK_PYTHON" -m tests.swarm "$@"
