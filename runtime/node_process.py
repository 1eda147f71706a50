"""The main of a node process. Its supervisor holds the other end of standard input: it writes the settings there, and
when it closes, for whatever reason, the node leaves and ends.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from types import FrameType

from loguru import logger

from rollbook.errors import SettingsError
from runtime.endpoints import AddressUnusable
from runtime.handover import EXIT_CONFIGURATION, EXIT_FAILED, read_framed
from runtime.logs import set_up_logs
from runtime.node import Node
from runtime.node_store import StoreUnusable
from runtime.settings import Settings

_INPUT = 0


def main() -> int:
    """Run one life of a node; the exit code."""
    settings = read_framed(_INPUT, Settings)
    if settings is None:
        return EXIT_FAILED
    try:
        set_up_logs(settings.log)
        return _live(Node(settings))
    except (SettingsError, StoreUnusable, AddressUnusable) as error:
        logger.error("{}", error)
        return EXIT_CONFIGURATION


def _live(node: Node) -> int:
    signals = _caught_signals()
    node.start()
    threading.Thread(target=_leave_when_told, args=(node, signals), name="supervisor-watch", daemon=True).start()
    ending = node.wait()
    if ending.exit_code != EXIT_FAILED:
        node.stop(ending)
    return ending.exit_code


def _caught_signals() -> socket.socket:
    """Where SIGTERM and SIGINT arrive as bytes: a handler that tells could interrupt a tell to that actor."""
    caught, into = socket.socketpair()
    into.setblocking(False)
    signal.set_wakeup_fd(into.detach())
    signal.signal(signal.SIGTERM, _noted)
    signal.signal(signal.SIGINT, _noted)
    return caught


def _noted(number: int, frame: FrameType | None) -> None:
    """The byte is written; that is all."""


def _leave_when_told(node: Node, signals: socket.socket) -> None:
    """By a signal, or by the end of the input: then the supervisor is gone. The first is enough."""
    while True:
        readable, _, _ = select.select([_INPUT, signals.fileno()], [], [])
        if signals.fileno() in readable:
            break
        if not os.read(_INPUT, 4_096):
            logger.warning("the supervisor is gone")
            break
    node.leave()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads may still run after a failure; nothing of this life is worth waiting for
