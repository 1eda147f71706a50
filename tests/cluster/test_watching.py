"""What a watch of a real node says of an instance that was there and is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollbook import NamingClient
from tests.support.real_cluster import RealCluster, until
from tests.support.watching import Observer, Watch, watch_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(60)]

SERVICE = "watched"


def watched(cluster: RealCluster, *, loses: bool) -> Watch:
    """Two instances, watched at every node; one of them may end."""
    with NamingClient(servers=cluster.addresses) as first, NamingClient(servers=cluster.addresses) as second:
        first.register_instance(SERVICE, "10.0.0.1", 80)
        second.register_instance(SERVICE, "10.0.0.2", 80)
        watcher = watch_complete(cluster.nodes, SERVICE, 2)
        observer = Observer(cluster.nodes[0], SERVICE)
        if loses:
            second.deregister_instance(SERVICE, "10.0.0.2", 80)
        until(lambda: observer.count() == 2 - loses, 5, "the node lists what is left")
        before = watcher.answers
        until(lambda: watcher.answers > before + 20, 10, "the nodes have been asked since")
        observer.close()
        return watcher.stop()


def test_a_watch_names_what_was_missing_and_where(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 2) as cluster:
        watch = watched(cluster, loses=True)
    assert 0 < len(watch.gaps) <= watch.missing
    assert {gap.node for gap in watch.gaps} == set(cluster.addresses)
    assert {(gap.listed, gap.missing) for gap in watch.gaps} == {(1, ("10.0.0.2:80",))}
    assert all(gap.after_s >= 0 and gap.answer > 0 for gap in watch.gaps)


def test_a_watch_of_what_stays_begins_complete_and_has_no_gaps(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 2) as cluster:
        watch = watched(cluster, loses=False)
    assert (watch.missing, watch.gaps) == (0, ())
