"""The main of a node process. Its supervisor holds the other end of standard input: it writes the settings there, and
when it closes, for whatever reason, the node leaves and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from loguru import logger

from rollbook.errors import SettingsError
from runtime.handover import EXIT_CONFIGURATION, EXIT_FAILED, read_framed
from runtime.logs import set_up_logs
from runtime.node import Node
from runtime.sockets import AddressUnusable
from runtime.store import StoreUnusable

_INPUT = 0


def main() -> int:
    """Run one life of a node; the exit code."""
    settings = read_framed(_INPUT)
    if settings is None:
        return EXIT_FAILED
    set_up_logs(settings.log)
    try:
        node = Node(settings)
    except (SettingsError, StoreUnusable, AddressUnusable) as error:
        logger.error("{}", error)
        return EXIT_CONFIGURATION
    node.start()
    _leave_at_signals(node)
    threading.Thread(target=_leave_at_end_of_input, args=(node,), name="supervisor-watch", daemon=True).start()
    ending = node.wait()
    if ending.exit_code != EXIT_FAILED:
        node.stop(ending)
    return ending.exit_code


def _leave_at_signals(node: Node) -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        node.leave()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def _leave_at_end_of_input(node: Node) -> None:
    while os.read(_INPUT, 4_096):
        continue
    logger.warning("the supervisor is gone")
    node.leave()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads may still run after a failure; nothing of this life is worth waiting for
