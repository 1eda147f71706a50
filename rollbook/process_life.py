"""Clients and the life of their process: a forked child begins afresh, and whatever is open at the end is closed.

Owns: which clients there are, without keeping any of them alive; in a child the engines of its parent, whose threads
are not in it and whose sockets are not its own.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

from rollbook.engine import Engine


class LivingClient(Protocol):
    def close(self) -> None: ...

    def _begin_in_child(self) -> None: ...


_clients: weakref.WeakSet[LivingClient] = weakref.WeakSet()
_inherited: list[Engine] = []  # kept, so that nothing of theirs is ever finalised


def joined(client: LivingClient) -> None:
    _clients.add(client)


def left(client: LivingClient) -> None:
    _clients.discard(client)


def keep_inherited(engine: Engine) -> None:
    """It belongs to the parent: a child neither uses nor ends it."""
    engine.abandon_in_child()
    _inherited.append(engine)


def _begin_all_in_child() -> None:
    for client in list(_clients):
        client._begin_in_child()


def _close_all() -> None:
    for client in list(_clients):
        client.close()


os.register_at_fork(after_in_child=_begin_all_in_child)
atexit.register(_close_all)
