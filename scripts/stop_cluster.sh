#!/usr/bin/env bash
# Ends exactly what scripts/start_cluster.sh started, also after a crash. Exit code 0 if nothing is left running.
set -euo pipefail

if (($# > 0)); then
    echo "usage: scripts/stop_cluster.sh   (ROLLBOOK_VAR: where the cluster's state lives, default var in the checkout)" >&2
    [[ "$1" == -h || "$1" == --help ]] && exit 0
    exit 2
fi

if [[ -n "${ROLLBOOK_VAR-}" && "$ROLLBOOK_VAR" != /* ]]; then
    export ROLLBOOK_VAR="$PWD/$ROLLBOOK_VAR"
fi
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# Stopping sets nothing up: it works with any Python, also when .venv is gone or older than setup.cfg.
python=.venv/bin/python
if ! "$python" -c '' 2>/dev/null; then
    python="$(command -v python3.11 || command -v python3)" || {
        echo "rollbook: no Python found to stop the cluster with" >&2
        exit 2
    }
fi
trap '' INT # until Python has loaded what it needs
exec "$python" -m runtime.local_cluster stop
