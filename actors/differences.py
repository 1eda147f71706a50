"""Equal watermarks, other contents: when this node's copy is the one to be mended.

It is a bug or bit rot, so it takes two digests running to believe it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from actors.messages.values import DigestEntry, Origin
from actors.peer_table import PeerTable


class Differences:
    def __init__(self, peers: PeerTable) -> None:
        self._peers = peers
        self._entries: dict[Origin, DigestEntry] = {}  # this node's own, of its last round
        self._differing: dict[tuple[Origin, str], int] = {}  # the watermark at which they were seen to differ

    def note_round(self, entries: Iterable[DigestEntry]) -> None:
        """What ClientManager counted at this beat."""
        self._entries = {entry.origin: entry for entry in entries}

    def is_confirmed(self, entry: DigestEntry, node_id: str, applied: int) -> bool:
        """A peer's entry differs, for the second time running, and it is for this node to mend that."""
        origin = entry.origin
        key = (origin, node_id)
        if not self._differs(origin, entry, node_id, applied):
            self._differing.pop(key, None)
            return False
        if self._differing.get(key) != entry.applied:
            self._differing[key] = entry.applied
            return False
        del self._differing[key]
        return True

    def forget(self, origin: Origin, node_id: str) -> None:
        """They cannot be compared now."""
        self._differing.pop((origin, node_id), None)

    def facts(self, entry: DigestEntry, node_id: str) -> dict[str, Any]:
        own = self._entries[entry.origin]
        return {
            "owner": entry.owner,
            "epoch": entry.epoch,
            "applied": entry.applied,
            "peer": node_id,
            "records_here": own.records,
            "records_there": entry.records,
            "digest_here": own.digest,
            "digest_there": entry.digest,
        }

    def change_peers(self) -> None:
        present = self._peers.peers
        self._differing = {key: applied for key, applied in self._differing.items() if key[1] in present}

    def purge(self, origins: Collection[Origin]) -> None:
        self._entries = {origin: entry for origin, entry in self._entries.items() if origin not in origins}
        self._differing = {key: applied for key, applied in self._differing.items() if key[0] not in origins}

    def _differs(self, origin: Origin, entry: DigestEntry, node_id: str, applied: int) -> bool:
        """With the owner in reach only its word counts. Among relays the copy with fewer live records gives way, so
        that two of them never swap, and doubt never removes a live instance."""
        own = self._entries.get(origin)
        if own is None or not own.settled or not entry.settled:
            return False
        if not entry.applied == own.applied == applied:
            return False
        if self._peers.has_owner(origin):
            is_mine_to_mend = node_id == entry.owner
        else:
            is_mine_to_mend = (own.records, own.digest) < (entry.records, entry.digest)
        return is_mine_to_mend and (own.records, own.digest) != (entry.records, entry.digest)
