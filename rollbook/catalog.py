"""Questions about which services there are, and their answers (rollbook/wire.py has their tags)."""

from __future__ import annotations

import msgspec


class FindServices(msgspec.Struct, frozen=True, array_like=True):
    """Services with a publisher whose group and name match: ``*`` is anything, ``x*``, ``*x`` and ``*x*`` what begins,
    ends or has x, all else is equal. With ``since``, the number of an earlier answer of this node, only what has
    changed is answered, if the node still knows."""

    namespace: str
    group_pattern: str = "*"
    name_pattern: str = "*"
    size: int = 100
    since: int = 0


class ServicesFound(msgspec.Struct, frozen=True, array_like=True):
    """``is_whole``: the first ``size`` of all ``total`` that match, sorted. Else what has come and gone since then.

    ``warming``: the cluster has just started, and what is not among them may only be late.
    """

    number: int
    is_whole: bool
    total: int = 0
    found: tuple[tuple[str, str], ...] = ()  # group and name
    gone: tuple[tuple[str, str], ...] = ()
    warming: bool = False
