"""What is decided about the etcd children before anything is started: which version will do, who has one, which flags.

Only decisions: nothing here touches a process, a file or a clock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import msgspec

from runtime.store.etcd_settings import EtcdSettings


class EtcdUnfit(Exception):
    """This etcd must not hold anything; one line for the operator."""


class EtcdVersion(NamedTuple):
    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> EtcdVersion:
    """From what ``etcd --version`` prints."""
    found = re.search(r"^etcd Version: (\d+)\.(\d+)\.(\d+)", text, re.MULTILINE)
    if found is None:
        raise EtcdUnfit("`etcd --version` does not say a version: is this etcd?")
    return EtcdVersion(*(int(number) for number in found.groups()))


def check_version(version: EtcdVersion) -> str:
    """A warning of one line, or ""; EtcdUnfit for a version that may lose data."""
    advice = "install the newest 3.5 or 3.6"
    if version < (3, 4, 22):
        raise EtcdUnfit(f"etcd {version} is too old: below 3.4.22 members can come to differ; {advice}")
    if (3, 5, 0) <= version <= (3, 5, 5):
        raise EtcdUnfit(f"etcd {version} must not be used: 3.5.0 to 3.5.5 can corrupt data when killed; {advice}")
    if version.major != 3:
        raise EtcdUnfit(f"etcd {version} is not known here: {advice}")
    return f"etcd {version}: the series 3.4 gets no more repairs; {advice}" if version.minor == 4 else ""


class Timers(Enum):
    """Heartbeat and election, in milliseconds."""

    LAPTOP = (50, 500)
    LAN = (100, 1_000)


class MemberPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One member. ``peers``: name and peer URL of every member there is when it starts, itself among them.

    ``listen_host``: where it listens, if that is not what the others dial.
    """

    name: str
    cluster_token: str
    data_directory: str
    client_url: str
    peer_url: str
    peers: tuple[tuple[str, str], ...]
    timers: Timers
    listen_host: str = ""
    joins_existing: bool = False  # a replacement, or a restart of one; etcd only looks at it with an empty directory


def seats(node_ids: Sequence[str], children_max: int) -> tuple[str, ...]:
    """Who has a member, from the node list in its order. An odd number: one more would only make a majority larger."""
    count = min(len(node_ids), children_max)
    return tuple(node_ids[: count - 1 + count % 2 if count else 0])


def member_command(binary: str, plan: MemberPlan, version: EtcdVersion, settings: EtcdSettings) -> list[str]:
    """The command line; names of flags differ between versions. None of the --unsafe ones has a place here."""
    heartbeat_ms, election_ms = plan.timers.value
    values = {
        "name": plan.name,
        "data-dir": plan.data_directory,
        "listen-client-urls": _listened(plan.client_url, plan.listen_host),
        "advertise-client-urls": plan.client_url,
        "listen-peer-urls": _listened(plan.peer_url, plan.listen_host),
        "initial-advertise-peer-urls": plan.peer_url,
        "initial-cluster": ",".join(f"{name}={url}" for name, url in plan.peers),
        "initial-cluster-token": plan.cluster_token,
        "initial-cluster-state": "existing" if plan.joins_existing else "new",
        "heartbeat-interval": str(heartbeat_ms),
        "election-timeout": str(election_ms),
        "pre-vote": "true",  # not the default in 3.4: without it a member that returns disturbs the leader
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": f"{settings.child_compaction_minutes}m",
        "snapshot-count": str(settings.child_snapshot_changes_max),
        "quota-backend-bytes": str(settings.child_quota_mib_max * 1_048_576),
        "logger": "zap",
        "log-level": "warn",
    }
    if version >= (3, 5, 0):
        name = (
            "watch-progress-notify-interval" if version >= (3, 6, 0) else "experimental-watch-progress-notify-interval"
        )
        values[name] = f"{settings.child_progress_interval_ms}ms"
    return [binary, *(f"--{name}={value}" for name, value in values.items())]


def _listened(url: str, host: str) -> str:
    return f"http://{host}:{url.rpartition(':')[2]}" if host else url


def member_environment(environment: dict[str, str]) -> dict[str, str]:
    """etcd also takes flags from ETCD_*, and peers through a proxy: neither is meant for this one."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    return {
        name: value
        for name, value in environment.items()
        if (not name.startswith("ETCD_") or name == "ETCD_UNSUPPORTED_ARCH") and name.lower() not in proxies
    }
