"""What is wrong with the way from one host to another; each direction is a path of its own.

A path that is well has no entry. Faults add up: a path can be slow, lossy and closed to new connections at once. Loss
is what TCP makes of it: a segment that is lost is sent again after a time-out that doubles, and holds up what comes
behind. (Fast retransmission, which needs much traffic, is left out: loss is worse here than on a busy connection.)
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

LOSSES_MAX = 12  # in a row: long before that somebody has given up
RARE = 1e-9  # what happens less often than this to a heartbeat does not happen


class PathFault(NamedTuple):
    """What is added to every frame on a path. Zero: as on other paths."""

    delay_us: int = 0
    jitter_us: int = 0
    loss: float = 0.0  # probability for each transmission
    duplicate: float = 0.0  # probability that a frame between nodes is sent again a moment later
    bytes_per_ms: int = 0


WELL = PathFault()


class TroubledPath:
    """The state of one path that is not well."""

    __slots__ = ("fault", "free_us", "is_cut", "is_mended", "refuses_dials")

    def __init__(self) -> None:
        self.is_cut = False
        self.refuses_dials = False
        self.is_mended = False  # no longer in force
        self.fault = WELL
        self.free_us = 0  # when the wire has carried what was sent before

    @property
    def is_well(self) -> bool:
        return not (self.is_cut or self.refuses_dials) and self.fault == WELL


def losses_in_a_row(loss: float, chance: random.Random) -> int:
    """How often one segment is lost before it gets through."""
    losses = 0
    while losses < LOSSES_MAX and chance.random() < loss:
        losses += 1
    return losses


def retransmission_us(losses: int, first_us: int) -> int:
    """The delay of a segment that was lost so often: 1, 2, 4 ... times the first time-out."""
    return first_us * ((1 << losses) - 1)


def losses_that_last(duration_us: int, first_us: int) -> int:
    """So many losses in a row take at least this long."""
    return max(1, math.ceil(math.log2(duration_us / first_us + 1)))


def heartbeats_until(loss: float, losses: int, chance: random.Random) -> int:
    """How many heartbeats pass until one is lost so often in a row, in one draw; 0: none ever is."""
    share = loss**losses
    if share < RARE:
        return 0
    return 1 if share >= 1.0 else 1 + int(math.log(1.0 - chance.random()) / math.log(1.0 - share))
