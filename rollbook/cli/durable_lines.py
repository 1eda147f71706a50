"""What ``rollbook nodes`` says of durable data: where it is kept, what that is worth, and who does not know it.

Pure: the lines of a report in, sentences out.
"""

from __future__ import annotations

from collections.abc import Sequence

from rollbook.cli.cluster_report import NodeLine
from rollbook.cli.output import time_text
from rollbook.status import StoreMember

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
        return _etcd(_store_members(lines))
    return ["durable data: in a file of this node"] if "alone" in places else []


def _store_members(lines: Sequence[NodeLine]) -> Sequence[StoreMember]:
    """By the node that sees most of them: whoever answers anybody is there."""
    views = [line.status.store_members for line in lines if line.status is not None]
    return max(views, key=lambda members: sum(member.state != "silent" for member in members))


def _etcd(members: Sequence[StoreMember]) -> list[str]:
    """One sentence on what it can bear, then one for each member that does not bear its part."""
    if not members:
        return ["durable data: in etcd"]
    names = [member.name for member in members if member.state == "leader"]
    votes = [member for member in members if member.state != "learner"]
    spare = sum(member.state != "silent" for member in votes) - (len(votes) // 2 + 1)
    led = f"led by {names[0]}" if names else "without a leader: nothing durable can be written"
    is_known = all(member.state != "unasked" for member in votes)
    more = f"; it bears the loss of {spare or 'no'} more" if names and is_known else ""
    plural = "member" if len(members) == 1 else "members"
    return [f"durable data: in etcd of {len(members)} {plural}, {led}{more}", *filter(None, map(_part, members))]


def _part(member: StoreMember) -> str:
    match member.state:
        case "silent":
            return f"the etcd member {member.name} does not answer"
        case "learner":
            return f"the etcd member {member.name} has no vote yet: it catches up"
        case "unasked":
            return f"nothing is known of the etcd member {member.name}: store.endpoints does not name it"
    return ""


def _is_troubled(line: NodeLine) -> bool:
    durable = None if line.status is None else line.status.durable
    return durable is not None and bool(durable.place) and (not durable.is_read or durable.stale_since_ms > 0)


def _trouble(line: NodeLine) -> str:
    assert line.status is not None
    durable = line.status.durable
    if not durable.stale_since_ms:
        return f"{line.address} has not read the durable data yet"
    since = time_text(durable.stale_since_ms, "%H:%M:%S")
    what = "shows durable data as it was then" if durable.is_read else "has never read the durable data"
    return f"{line.address} cannot follow the store since {since} and {what}: {durable.reason}"
