#!/usr/bin/env bash
# Installs the official Nacos SDKs that tests/sdk runs, below .sdks, in the versions that tests/sdk pins.
#
# What cannot be had here (no npm, no registry within reach) is said in one line, and its tests are skipped: exit code 0.
# When nothing changed this costs a few milliseconds. Two scripts may install at once: the second waits for the first.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

# The path is part of it: a copied virtual environment still points to the place it was copied from.
_stamp_of() { # FILE...
    printf '%s\n' "$ROLLBOOK_ROOT"
    cat -- "$@" | cksum
}

_is_installed() { # NAME FILE...
    local stamp=".sdks/$1/.rollbook-stamp"
    [[ -f "$stamp" && "$(<"$stamp")" == "$(_stamp_of "${@:2}")" ]]
}

_install_python() ( # FOLDER REQUIREMENTS
    "$(_find_python)" -I -m venv "$1"
    _keep_only_pip_sources
    export PIP_RETRIES=1
    "$1/bin/python" -I -m pip install --quiet --no-deps --requirement "$2"
)

_install_npm() { # FOLDER PACKAGE LOCK
    cp -- "$2" "$3" "$1"
    # No package's own programs are run: the SDK needs none.
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --fetch-retries=1
}

_install() { # NAME HOW FILE...
    local name="$1" folder=".sdks/$1" log=".sdks/$1.log"
    _is_installed "$name" "${@:3}" && return
    rm -rf -- "$folder"
    mkdir -p -- "$folder"
    if "$2" "$folder" "${@:3}" >"$log" 2>&1; then
        _stamp_of "${@:3}" >"$folder/.rollbook-stamp"
    else
        _say "the official SDK $name cannot be installed here ($log says why), so its tests are skipped"
    fi
}

_install_all() {
    _install python_grpc _install_python tests/sdk/python_grpc.txt &
    _install python_http _install_python tests/sdk/python_http.txt &
    _install npm _install_npm tests/sdk/package.json tests/sdk/package-lock.json &
    wait
}

if ! _is_installed python_grpc tests/sdk/python_grpc.txt || ! _is_installed python_http tests/sdk/python_http.txt ||
    ! _is_installed npm tests/sdk/package.json tests/sdk/package-lock.json; then
    _lock
    _say "installing the official SDKs that tests/sdk runs (once, and again when their versions change)"
    _install_all
    exec 9>&-
fi
