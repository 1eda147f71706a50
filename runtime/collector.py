"""Python's collector of cycles, as a process that lives long and answers fast wants it."""

from __future__ import annotations

import gc

# A young collection per 50,000 objects instead of 700, and what start-up made is never looked at again: p99 is a third.
THRESHOLDS = (50_000, 20, 100)


def settle_collector() -> None:
    """Call it once, when everything that stays for ever has been made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
