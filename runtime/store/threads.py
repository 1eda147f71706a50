"""How a store starts its threads: none of them ends unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Callable

OnFailure = Callable[[BaseException], None]  # what nothing foresaw; called on the thread that it ends


def guarded_thread(name: str, loop: Callable[[], None], on_failure: OnFailure) -> threading.Thread:
    """Not started yet. What its loop raises is told."""

    def run() -> None:
        try:
            loop()
        except BaseException as failure:
            on_failure(failure)

    return threading.Thread(target=run, name=name, daemon=True)
