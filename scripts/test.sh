#!/usr/bin/env bash
# All checks, then all tests, in two processes (tests/support/workers.py). Arguments go to pytest:
# scripts/test.sh -m 'not cluster' -x; with -n 0 in one process, as --pdb and -s want it.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

scripts/check.sh
"$ROLLBOOK_PYTHON" -m pytest --numprocesses 2 --dist loadscope "$@"
