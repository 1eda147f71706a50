"""Who stands as the author of what a command decides: readable for whoever looks it up a month later."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket

_FOREIGN = re.compile(r"[^\w.@-]+", re.ASCII)
_LENGTH_MAX = 100


def author_id() -> str:
    """``user@host/tail`` as a client id; the tail keeps two commands of one person apart."""
    who = _FOREIGN.sub("_", f"{_user()}@{socket.gethostname()}")[:_LENGTH_MAX]
    return f"{who}/{secrets.token_hex(4)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container: a number without a name
        return str(os.getuid())
