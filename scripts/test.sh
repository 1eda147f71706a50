#!/usr/bin/env bash
# All checks, then all tests. Arguments go to pytest: scripts/test.sh -m 'not cluster' -x
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

scripts/check.sh
"$ROLLBOOK_PYTHON" -m pytest "$@"
