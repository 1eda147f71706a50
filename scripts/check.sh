#!/usr/bin/env bash
# Format, lint, types and house rules. Changes nothing; `ruff format` and `ruff check --fix` do.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

rooms=()
for room in rollbook actors runtime tests benchmarks examples scripts; do
    # mypy refuses a folder that is absent or holds no Python.
    if [[ -n "$(find "$room" -name '*.py' -print -quit 2>/dev/null)" ]]; then
        rooms+=("$room")
    fi
done

"$ROLLBOOK_PYTHON" -m ruff format --check --quiet .
"$ROLLBOOK_PYTHON" -m ruff check --quiet .
"$ROLLBOOK_PYTHON" -m mypy "${rooms[@]}"
scripts/build_proto.sh --check
scripts/build_openapi.sh --check
"$ROLLBOOK_PYTHON" -m pytest --quiet tests/test_tidy.py
