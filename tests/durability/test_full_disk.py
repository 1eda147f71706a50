"""The node that keeps the store of a cluster, on a disk that is full for a while."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollbook import NamingClient
from rollbook.errors import Code, OutcomeUnknown, Refused
from tests.durability.ledger import End, LedgerLine, lost_writes
from tests.durability.rounds import agreed_lists
from tests.durability.writer import SERVICE
from tests.support.real_cluster import RealCluster, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

DISK_KIB = 4_096
WRITES_MAX = 2_000  # by then a disk without a free block has refused one
IP = "127.7.1.1"
PORTS = 50
METADATA = {"padding": "v" * 900}  # so that a write needs space


class Writing:
    """One client whose ledger stays here: it writes its ports in turn, each time with another weight."""

    def __init__(self, client: NamingClient) -> None:
        self.lines: list[LedgerLine] = []
        self.refusals: list[Refused] = []
        self._client = client

    def write(self) -> End:
        number = len(self.lines) + 1
        port, weight = 1_000 + number % PORTS, number / 10
        end: End = "done"
        try:
            self._client.register_instance(SERVICE, IP, port, weight=weight, metadata=METADATA, ephemeral=False)
        except OutcomeUnknown:
            end = "unknown"
        except Refused as error:
            end = "refused"
            self.refusals.append(error)
        self.lines.append(LedgerLine(port, weight, end, 0))
        return end


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where the first node of a cluster in ``tmp_path`` keeps its data."""
    place = tmp_path / "node-1" / "data"
    place.mkdir(parents=True, mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k,mode=700", "durability-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk that is full: only root may mount one here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"\0" * 1_024 * DISK_KIB)  # as much of it as there is room for
    return ballast


@pytest.mark.parametrize("at", [0, 1])
def test_on_a_full_disk_writes_are_refused_in_words_lists_go_on_and_nothing_is_lost(
    tmp_path: Path, disk: Path, at: int
) -> None:
    with RealCluster(tmp_path, 3) as cluster, NamingClient(cluster.addresses[at], timeout=5.0) as client:
        writing = Writing(client)
        until(lambda: writing.write() == "done", 10, "the first write")
        assert {writing.write() for _ in range(100)} == {"done"}
        ballast = fill(disk)
        assert any(writing.write() == "refused" for _ in range(WRITES_MAX)), "the disk is full"
        [refusal] = writing.refusals
        assert (refusal.code, refusal.retryable) == (Code.STORE_UNAVAILABLE, True)
        assert "the disk is full" in refusal.message
        assert lost_writes(writing.lines, agreed_lists(cluster.nodes)[IP]) == []
        ballast.unlink()
        until(lambda: writing.write() == "done", 10, "writes go on once there is space")
        assert {writing.write() for _ in range(PORTS)} == {"done"}
        for node in cluster:
            node.kill()
        for node in cluster:
            node.start()
        cluster.until_ready()
        assert lost_writes(writing.lines, agreed_lists(cluster.nodes)[IP]) == []
