"""Where a cluster on this machine keeps durable data: decided once for all its nodes, by whoever starts them.

What is there decides first, so that nothing that was acknowledged is out of sight after the next start; then what the
caller says; then whether an etcd is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

from runtime.local_node import EXIT_USAGE, ClusterTrouble

CHILDREN = 3  # beside so many nodes an etcd runs, and a cluster that is to have it has no fewer
_ENGINE, _ENDPOINTS, _CHILDREN_MAX = "ROLLBOOK_STORE_ENGINE", "ROLLBOOK_STORE_ENDPOINTS", "ROLLBOOK_ETCD_CHILDREN_MAX"


class Durable(Enum):
    """Values stand in cluster.json."""

    ALONE = "alone"
    HOME = "home"
    CHILDREN = "etcd_children"
    OUTSIDE = "etcd_outside"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the nodes are told. The rest they find in what they inherit, or in the member list."""
        return {_ENGINE: "etcd", _CHILDREN_MAX: str(CHILDREN)} if self is Durable.CHILDREN else {}

    @property
    def sentence(self) -> str:
        match self:
            case Durable.ALONE:
                return "Durable data is kept in one file, by this node."
            case Durable.HOME:
                more = "with etcd installed, a new cluster of three keeps it beside three nodes"
                return f"Durable data is kept in one file, by node 1, and cannot be written without it; {more}."
            case Durable.CHILDREN:
                return "Durable data is kept in etcd, beside nodes 1 to 3: it survives the loss of any one of them."
            case Durable.OUTSIDE:
                return f"Durable data is kept in the etcd that {_ENDPOINTS} names."


def choose_durable(data: Sequence[Path], count: int, environment: Mapping[str, str]) -> Durable:
    """``data``: the data directories of all nodes that this folder may know of, in order."""
    if environment.get(_ENDPOINTS):
        return Durable.OUTSIDE
    if any((directory / "etcd" / "seat").exists() for directory in data):
        if count < CHILDREN:
            message = f"durable data lies in etcd beside {CHILDREN} nodes: start {CHILDREN} or more"
            raise ClusterTrouble(f"{message}, or remove {data[0].parent.parent} to begin without it", EXIT_USAGE)
        return Durable.CHILDREN
    if count == 1:
        return Durable.ALONE
    engine = environment.get(_ENGINE, "auto")
    if engine == "etcd":
        return Durable.CHILDREN
    has_file = any((directory / "store-id").exists() for directory in data)
    wants_etcd = engine == "auto" and count >= CHILDREN and not has_file
    return Durable.CHILDREN if wants_etcd and _is_etcd_fit() else Durable.HOME


def _is_etcd_fit() -> bool:
    # Here, because stopping must not need what .venv holds.
    from runtime.store.etcd_child import find_etcd
    from runtime.store.etcd_plan import EtcdUnfit

    try:
        return find_etcd() is not None
    except EtcdUnfit as reason:
        print(f"rollbook: {reason}; until then durable data is kept in one file", file=sys.stderr)
        return False
