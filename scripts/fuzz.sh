#!/usr/bin/env bash
# Fuzz what reads frames and files: scripts/fuzz.sh [--target NAME] [--executions N] [--minutes M] [--keep]
# What was run is added to docs/fuzzing.jsonl; what breaks a promise lies in var/fuzz/findings. See docs/fuzzing.md.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

for argument in "$@"; do
    if [[ "$argument" == -h || "$argument" == --help ]]; then
        exec "$ROLLBOOK_PYTHON" -m tests.fuzz.run --help # which needs no fuzzer
    fi
done

if ! "$ROLLBOOK_PYTHON" -I -c 'import atheris' 2>/dev/null; then
    _say "installing the fuzzer (the extra \"fuzz\" of setup.cfg)"
    # In a subshell: what pip needs to know stays out of the fuzzer.
    if ! (
        _keep_only_pip_sources
        "$ROLLBOOK_PYTHON" -I -m pip install --quiet --editable '.[fuzz]' >.venv/install-fuzz.log 2>&1
    ); then
        tail -n 5 -- .venv/install-fuzz.log >&2
        _die "there is no atheris for $("$ROLLBOOK_PYTHON" -V) on $(uname -sm); the kept corpus is replayed by scripts/test.sh all the same"
    fi
fi
exec nice -n 10 "$ROLLBOOK_PYTHON" -m tests.fuzz.run "$@"
