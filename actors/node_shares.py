"""Which node sees to something that any could do: rendezvous hashing, so a node that comes or goes moves only its own
share. Pure rules.

The hashes are keyed and the same on every node and in every life; the order of the list of nodes does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from rollbook.codec import pack
from rollbook.model import InstanceKey, Service

_KEYED_HASH = hashlib.blake2b(digest_size=8, key=b"rollbook probes 1")
_MASK = (1 << 64) - 1


def identity_of(service: Service, key: InstanceKey) -> int:
    """64 bits that stand for one instance."""
    return _hashed(pack((service, key)))


def identity_of_client(client: str) -> int:
    """The same for an HTTP client."""
    return _hashed(client.encode())


class NodeShares:
    """The living nodes, ready to be asked about many instances or clients."""

    def __init__(self, node_ids: Iterable[str]) -> None:
        self._nodes = tuple((_hashed(node_id.encode()), node_id) for node_id in sorted(node_ids))

    def node_for(self, identity: int) -> str:
        """Whose instance it is; empty if there is no node."""
        return max(((_mixed(identity ^ hashed), node_id) for hashed, node_id in self._nodes), default=(0, ""))[1]

    def turn_of(self, node_id: str, identity: int) -> int | None:
        """How many come before this node, of whom the first is the one whose instance it is; None if it is no living
        node."""
        ranks = {known: (_mixed(identity ^ hashed), known) for hashed, known in self._nodes}
        return sum(rank > ranks[node_id] for rank in ranks.values()) if node_id in ranks else None


def _mixed(bits: int) -> int:
    """The finish of splitmix64: every bit of the result depends on every bit that went in."""
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


def _hashed(content: bytes) -> int:
    keyed = _KEYED_HASH.copy()
    keyed.update(content)
    return int.from_bytes(keyed.digest(), "little")
