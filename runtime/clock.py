"""The clocks of a real node."""

from __future__ import annotations

import time

from actors.base import Now


def system_now() -> Now:
    """The monotonic clock for leases, the wall clock for stamps."""
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def monotonic_ms() -> int:
    """That of ``system_now``, for whoever needs no wall clock."""
    return time.monotonic_ns() // 1_000_000
