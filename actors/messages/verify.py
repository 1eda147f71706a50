"""What VerifyTimer is told: nothing but its own reminder."""

from __future__ import annotations

import msgspec


class VerifyDue(msgspec.Struct, frozen=True):
    number: int
