#!/usr/bin/env bash
# Sourced by the other scripts, never run: makes .venv ready and names its Python.
#
#   ROLLBOOK_ROOT     the checkout, wherever the caller stands
#   ROLLBOOK_PYTHON   the Python of .venv, with Rollbook (editable) and its dev tools installed
#
# When nothing changed this costs a few milliseconds. Two scripts may set up at once: the second waits for the first.

# The caller's environment must not leak into ours.
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONWARNINGS PYTHONOPTIMIZE MYPYPATH CDPATH

ROLLBOOK_ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
ROLLBOOK_PYTHON="$ROLLBOOK_ROOT/.venv/bin/python"

_say() { printf 'rollbook: %s\n' "$*" >&2; }
_die() { _say "$*"; exit 2; }

# What the installation depends on. The path is part of it: a copied .venv still points to the place it was copied from.
_wanted_stamp() {
    printf '%s\n' "$ROLLBOOK_ROOT"
    cat -- "$ROLLBOOK_ROOT/setup.cfg" "$ROLLBOOK_ROOT/pyproject.toml" | cksum
}

_is_ready() {
    [[ -x "$ROLLBOOK_PYTHON" && -f "$ROLLBOOK_ROOT/.venv/.rollbook-stamp" ]] &&
        [[ "$(<"$ROLLBOOK_ROOT/.venv/.rollbook-stamp")" == "$(_wanted_stamp)" ]]
}

# Prints the Python to build with. A candidate may be a virtual environment's (even ours), hence _base_executable.
_find_python() {
    local candidate base without_venv=''
    for candidate in python3.11 python3 python3.14 python3.13 python3.12 python; do
        base="$("$candidate" -I -c '
import sys
print(sys.version_info >= (3, 11) and (getattr(sys, "_base_executable", "") or sys.executable) or "")
' 2>/dev/null)" || continue
        [[ -n "$base" ]] || continue
        if "$base" -I -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$base"
            return
        fi
        without_venv="$base"
    done
    if [[ -n "$without_venv" ]]; then
        _die "$without_venv cannot make virtual environments; install its venv module (Debian, Ubuntu: apt install python3-venv)"
    fi
    _die "Python 3.11 or newer is needed, and none was found on PATH"
}

# Where pip looks is the caller's business (index, proxy, certificates); where and how it installs is ours.
_keep_only_pip_sources() {
    local line key value kept=()
    while IFS= read -r line; do
        key="${line%%=*}" value="${line#*=}"
        key="${key##*.}" value="${value:1:${#value}-2}"
        case "$key" in
            index-url | extra-index-url | no-index | find-links | trusted-host | proxy | cert | client-cert | timeout | retries)
                kept+=("PIP_$(tr 'a-z-' 'A-Z_' <<<"$key")=${value//\\n/ }")
                ;;
        esac
    done < <("$ROLLBOOK_PYTHON" -I -m pip config list 2>/dev/null)
    for key in "${!PIP_@}"; do
        unset "$key"
    done
    for line in "${kept[@]+"${kept[@]}"}"; do
        export "${line?}"
    done
    export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
}

_build() {
    local venv="$ROLLBOOK_ROOT/.venv" log="$ROLLBOOK_ROOT/.venv/install.log" base built_for=''
    _say "setting up .venv (once, and again when setup.cfg or pyproject.toml change)"
    if [[ -f "$venv/.rollbook-stamp" ]]; then
        built_for="$(head -n 1 -- "$venv/.rollbook-stamp")"
        rm -f -- "$venv/.rollbook-stamp"
    fi
    if [[ -n "$built_for" && "$built_for" != "$ROLLBOOK_ROOT" ]] ||
        ! "$ROLLBOOK_PYTHON" -I -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        base="$(_find_python)" || exit
        rm -rf -- "$venv"
        "$base" -I -m venv "$venv" >&2 || _die "could not create .venv with $base"
    fi
    # In a subshell: what pip needs to know stays out of the caller's scripts.
    if ! (
        _keep_only_pip_sources
        cd -- "$ROLLBOOK_ROOT" && "$ROLLBOOK_PYTHON" -I -m pip install --quiet --editable '.[dev]' >"$log" 2>&1
    ); then
        tail -n 15 -- "$log" >&2
        _die "the installation failed; all of its output: .venv/install.log"
    fi
    _wanted_stamp >"$venv/.rollbook-stamp"
}

# The lock belongs to file descriptor 9, which the short-lived Python shares with us: it ends with us, even by kill -9.
_lock() {
    local base
    base="$(_find_python)" || exit
    { exec 9>"$ROLLBOOK_ROOT/.venv.lock"; } 2>/dev/null ||
        _die "$(id -un) can neither use $ROLLBOOK_ROOT/.venv as it is nor set it up: no right to write there"
    "$base" -I -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("rollbook: another script is setting up .venv, waiting for it", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
'
}

if ! _is_ready; then
    _lock
    _is_ready || _build
    exec 9>&-
fi
