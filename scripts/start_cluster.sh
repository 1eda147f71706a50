#!/usr/bin/env bash
# Starts a cluster of N nodes (1 to 9, default 3) on this machine, and returns once all are ready.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: scripts/start_cluster.sh [N]

Starts N nodes (1 to 9, default 3) on loopback and waits until all are ready. Sets up .venv first if that is needed.
Does nothing if the cluster is up; starts again what is dead in it. scripts/stop_cluster.sh ends it.

Three or more nodes keep durable data in etcd beside the first three, if it is installed (Debian: etcd-server).

  ROLLBOOK_BASE_PORT   first base port P (default 8848): HTTP at P, gRPC at P+1000, native clients at P+2, peers at P+3,
                       the next node at P+10
  ROLLBOOK_VAR         where logs and state live (default: var in the checkout)

exit codes: 0 all ready, 1 not ready in time, 2 wrong usage, a port in use, or another cluster is running
USAGE
}

case "${1-3}" in
    [1-9]) ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
if (($# > 1)); then
    usage >&2
    exit 2
fi

# Relative to where the caller stands, not to the checkout.
if [[ -n "${ROLLBOOK_VAR-}" && "$ROLLBOOK_VAR" != /* ]]; then
    export ROLLBOOK_VAR="$PWD/$ROLLBOOK_VAR"
fi
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"
trap '' INT # until Python has loaded what it needs
exec "$ROLLBOOK_PYTHON" -m runtime.local_cluster start "${1-3}"
