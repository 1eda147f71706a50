#!/usr/bin/env bash
# Makes docs/openapi.json from the routes of the gateway and what is said of them: build_openapi.sh [--check]
# With --check nothing is changed; exit code 1 if what is checked in is not what the gateway serves.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

document=docs/openapi.json
made="$(mktemp)"
trap 'rm -f -- "$made"' EXIT
"$ROLLBOOK_PYTHON" -m runtime.gateway.api >"$made"
if [[ "${1:-}" == --check ]]; then
    cmp --silent -- "$made" "$document" || {
        _say "$document is not what the gateway serves: run scripts/build_openapi.sh"
        exit 1
    }
else
    cat -- "$made" >"$document"
fi
