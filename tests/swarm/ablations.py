"""Rules of the protocol, broken one at a time: a harness that does not notice is broken itself.

Each is a context manager that puts something worse in the place of one function of the product, and puts it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tests.swarm.breaking import Ablation
from tests.swarm.broken_before import BEFORE
from tests.swarm.broken_lives import LIVES
from tests.swarm.broken_records import RECORDS

ABLATIONS: Mapping[str, Ablation] = {**RECORDS, **LIVES, **BEFORE}


def ablated(name: str | None) -> AbstractContextManager[Any]:
    """The rule of that name is broken meanwhile; without a name none is."""
    return ABLATIONS[name].begin() if name else nullcontext()
