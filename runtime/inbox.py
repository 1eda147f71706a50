"""The mailbox of a thread that waits for sockets: whoever puts something in wakes it, with one byte at a time."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

WAKE_BYTES_MAX = 64  # one is all that is under way


class WakingInbox:
    """``put`` from any thread; all else is for the thread that it belongs to."""

    def __init__(self) -> None:
        self.messages: deque[Any] = deque()
        self.wake_end, self._told_end = socket.socketpair()
        self.wake_end.setblocking(False)
        self._told_end.setblocking(False)
        self._is_awake = True  # a byte is under way, or the thread will look anyway

    def put(self, message: Any) -> None:
        self.messages.append(message)
        if not self._is_awake:
            self._is_awake = True
            self._told_end.send(b"!")

    def may_sleep(self) -> bool:
        """Before each wait. False if something was put in between the last look and this call."""
        self._is_awake = False
        return not self.messages

    def awake(self) -> None:
        """After each wait, before the look into the messages."""
        self._is_awake = True

    def take_byte(self) -> None:
        """The wake end is readable."""
        self.wake_end.recv(WAKE_BYTES_MAX)

    def close(self) -> None:
        self.wake_end.close()
        self._told_end.close()
