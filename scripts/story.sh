#!/usr/bin/env bash
# What happened to one client in one run of the swarm: scripts/story.sh --nodes 5 --seed 7 --client c12. More: --help.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"
exec "$ROLLBOOK_PYTHON" -m tests.swarm.story "$@"
