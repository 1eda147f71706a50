"""What ``rollbook nodes`` says of durable data: where it is kept, what that is worth, and who does not know it.

Pure: the lines of a report in, sentences out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollbook.cli.cluster_report import NodeLine

_HOW_TO_GET_MORE = "etcd survives the loss of any one node: see store.engine"


def durable_lines(lines: Sequence[NodeLine]) -> list[str]:
    """One sentence on the whole, then one for each node that cannot follow the store."""
    return [*_place(lines), *(_trouble(line) for line in lines if _is_troubled(line))]


def _place(lines: Sequence[NodeLine]) -> list[str]:
    places = {line.status.durable.place: line.address for line in lines if line.status is not None}
    if "home" in places or "away" in places:
        home = places.get("home", "a node that does not answer")
        return [
            f"durable data: in one file, at {home}; while that node is away nothing durable can be written; "
            + _HOW_TO_GET_MORE
        ]
    if "etcd" in places:
        return ["durable data: in etcd"]
    return ["durable data: in a file of this node"] if "alone" in places else []


def _is_troubled(line: NodeLine) -> bool:
    durable = None if line.status is None else line.status.durable
    return durable is not None and bool(durable.place) and (not durable.is_read or durable.stale_since_ms > 0)


def _trouble(line: NodeLine) -> str:
    assert line.status is not None
    durable = line.status.durable
    if not durable.stale_since_ms:
        return f"{line.address} has not read the durable data yet"
    since = f"{datetime.fromtimestamp(durable.stale_since_ms / 1000):%H:%M:%S}"
    what = "shows durable data as it was then" if durable.is_read else "has never read the durable data"
    return f"{line.address} cannot follow the store since {since} and {what}: {durable.reason}"
