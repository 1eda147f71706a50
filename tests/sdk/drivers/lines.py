"""What a driver hears and says: a JSON object a line, on standard input and output.

Heard: ``{"number": 1, "client": "a", "call": "register", "with": {...}}``. Said: ``{"number": 1, "result": ...,
"began": s, "ended": s}`` or an ``error`` in the place of the result; and ``{"client": "a", "told": "service", "hosts":
[...], "at": s}`` whenever the SDK tells of a service. Times are of the monotonic clock, which all processes share.
Runs in the SDK's environment, so it needs the standard library only.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

# SDKs print as they like: only we say lines.
_output = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
_lock = threading.Lock()


def say(**said: Any) -> None:
    """Any thread may."""
    with _lock:
        print(json.dumps(said), file=_output, flush=True)


def tell(client: str, service: str, hosts: list[dict[str, Any]]) -> None:
    say(client=client, told=service, hosts=hosts, at=time.monotonic())


class Answering:
    """One question under way: its answer is said at the end of the ``with``, an exception of the SDK as an error."""

    def __init__(self, line: str | bytes) -> None:
        question = json.loads(line)
        self.client: str = question["client"]
        self.call: str = question["call"]
        self.parameters: dict[str, Any] = question["with"]
        self.result: Any = None
        self._number: int = question["number"]
        self._began = time.monotonic()

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        answer = {"error": f"{type(error).__name__}: {error}"} if error else {"result": self.result}
        say(number=self._number, began=self._began, ended=time.monotonic(), **answer)
        return isinstance(error, Exception)
