"""A process that writes into a store as fast as it can and says what was acknowledged, until somebody kills it."""

from __future__ import annotations

import os
import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path

from actors.messages.store import Operation, Outcome
from runtime.store.sqlite import SqliteStore
from tests.support.store_settings import SQLITE

WINDOW = 64
VALUE_BYTES = 300


def _fail(failure: BaseException) -> None:
    os.write(2, f"{failure!r}\n".encode())
    os._exit(1)


def main() -> None:
    directory, life = Path(sys.argv[1]), sys.argv[2]
    store = SqliteStore.open(directory, SQLITE, _fail)
    waiting: deque[tuple[int, Future[Outcome]]] = deque()
    number = 0
    while True:
        value = b"%d" % number + b"." * VALUE_BYTES
        pair = [Operation(f"{life}/{number}/{half}", value) for half in ("left", "right")]
        waiting.append((number, store.propose(pair, timeout_seconds=60)))
        number += 1
        if len(waiting) == WINDOW:
            done, future = waiting.popleft()
            outcome = future.result()
            os.write(1, f"{done} {outcome.index}\n".encode())


if __name__ == "__main__":
    main()
