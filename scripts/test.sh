#!/usr/bin/env bash
# All checks, then all tests, in three processes (tests/support/workers.py). Arguments go to pytest:
# scripts/test.sh -m 'not cluster' -x; with -n 0 in one process, as --pdb and -s want it.
#
# Tests with an etcd are skipped where none is on the path. Where this may be changed without asking, it is: as root, by
# apt-get, and where no systemd runs, which would begin to serve the newly installed one.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

_install_etcd() {
    ((EUID == 0)) && command -v apt-get >/dev/null && [[ ! -d /run/systemd/system ]] || return
    local apt=(env DEBIAN_FRONTEND=noninteractive timeout 180 apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=10)
    _say "installing etcd (apt-get install etcd-server), which some tests run"
    "${apt[@]}" install -y --no-install-recommends etcd-server &>/dev/null ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends etcd-server; } &>/dev/null
}

command -v etcd >/dev/null || _install_etcd ||
    _say "no etcd here, so tests that run one are skipped (Debian, Ubuntu: apt install etcd-server)"

# While the checks run: what it needs comes from registries.
scripts/install_sdks.sh &
scripts/check.sh
wait "$!"
"$ROLLBOOK_PYTHON" -m pytest --numprocesses 3 --dist loadscope "$@"
