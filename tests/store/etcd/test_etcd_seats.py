"""Beside which nodes an etcd runs, where it listens, what is refused, and when a member without data may begin."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from rollbook.errors import SettingsError
from runtime.settings import Settings, load_settings, store_kind
from runtime.store.etcd_beginning import Beginning, Heard, judge
from runtime.store.etcd_plan import EtcdVersion, MemberPlan, Timers, member_command
from runtime.store.etcd_seats import etcd_endpoints, etcd_seats, listen_host
from runtime.store.opening import open_store
from tests.support.etcd_cluster import EtcdTestCluster, free_url
from tests.support.store_settings import ETCD

HOSTS = ["127.0.0.1:8848", "127.0.0.1:8858", "127.0.0.1:8868", "127.0.0.1:8878"]
MET = b'HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: 1\r\n\r\n[{"id":1,"peerURLs":["http://127.0.0.1:1"],"name":"a"}]'


def cluster(members: list[str], *, own: int = 0, engine: str = "etcd", **etcd: Any) -> Settings:
    host, port = members[own].rsplit(":", 1)
    node = {"host": host, "base_port": int(port), "members": members}
    return load_settings(None, {"node": node, "store": {"engine": engine}, "etcd": etcd}, {})


def test_the_first_three_of_the_list_have_a_seat_and_everybody_knows_the_same() -> None:
    for own in range(4):
        settings = cluster(HOSTS, own=own)
        assert etcd_seats(settings) == ("127.0.0.1:8851", "127.0.0.1:8861", "127.0.0.1:8871")
        assert store_kind(settings) == "etcd"
    assert etcd_endpoints(cluster(HOSTS, own=1)) == ("127.0.0.1:8862", "127.0.0.1:8852", "127.0.0.1:8872")
    assert etcd_endpoints(cluster(HOSTS, own=3)) == ("127.0.0.1:8852", "127.0.0.1:8862", "127.0.0.1:8872")


@pytest.mark.parametrize("engine", ["auto", "single_home"])
def test_what_is_not_said_to_all_nodes_is_not_decided_by_one(engine: str) -> None:
    settings = cluster(HOSTS, engine=engine)
    assert (etcd_seats(settings), store_kind(settings)) == ((), "home")


def test_two_nodes_and_none_are_refused() -> None:
    with pytest.raises(SettingsError, match="takes three of them, and the list names 2"):
        etcd_seats(cluster(HOSTS[:2]))
    with pytest.raises(SettingsError, match="etcd needs endpoints, or a cluster of three nodes"):
        load_settings(None, {"store": {"engine": "etcd"}}, {})


def test_beyond_loopback_somebody_must_have_said_that_it_is_not_encrypted() -> None:
    away = ["10.0.0.1:8848", "10.0.0.2:8848", "10.0.0.3:8848"]
    with pytest.raises(SettingsError, match=r"no TLS between etcd and 10\.0\.0\.1:8851"):
        etcd_seats(cluster(away))
    assert etcd_endpoints(cluster(away, children_unencrypted=True))[0] == "10.0.0.1:8852"
    named = [address.replace("127.0.0.1", "localhost") for address in HOSTS]
    assert etcd_seats(cluster(named))[0] == "localhost:8851", "a name of loopback like any address of it"
    with pytest.raises(SettingsError, match="no TLS between etcd and registry-2:8851"):
        etcd_seats(cluster(["127.0.0.1:8848", "registry-2:8848", "127.0.0.1:8868"]))


def test_a_member_listens_where_its_node_does() -> None:
    assert listen_host(cluster(HOSTS)) == "127.0.0.1"
    for host, expected in (("*", "0.0.0.0"), ("::", "[::]"), ("[::1]", "[::1]"), ("localhost", "localhost")):
        node = {"host": host, "advertised_host": "10.0.0.1"}
        assert listen_host(load_settings(None, {"node": node}, {})) == expected
    with pytest.raises(SettingsError, match="addresses only, and registry-1 is a name"):
        listen_host(load_settings(None, {"node": {"host": "registry-1"}}, {}))
    plan = MemberPlan(
        name="a",
        cluster_token="t",
        data_directory="d",
        client_url="http://10.0.0.1:8852",
        peer_url="http://10.0.0.1:8853",
        peers=(("a", "http://10.0.0.1:8853"),),
        timers=Timers.LAN,
        listen_host="0.0.0.0",
    )
    command = member_command("etcd", plan, EtcdVersion(3, 5, 9), ETCD)
    assert {"--listen-client-urls=http://0.0.0.0:8852", "--listen-peer-urls=http://0.0.0.0:8853"} <= set(command)
    assert "--advertise-client-urls=http://10.0.0.1:8852" in command


@pytest.mark.parametrize(
    ("remains", "settings", "expected"),
    [
        ("etcd/seat", {}, "keeps durable data in etcd beside the nodes, and store.engine is auto"),
        ("etcd/seat", {"endpoints": ["127.0.0.1:1"]}, "keeps durable data in etcd beside the nodes"),
        ("store-id", {"endpoints": ["127.0.0.1:1"]}, "keeps durable data in a file, and store.engine is auto"),
    ],
)
def test_another_engine_never_begins_empty_beside_data(
    tmp_path: Path, remains: str, settings: dict[str, Any], expected: str
) -> None:
    (tmp_path / remains).parent.mkdir(exist_ok=True)
    (tmp_path / remains).write_text("127.0.0.1:8851\n")
    failures: list[BaseException] = []
    loaded = load_settings(None, {"node": {"data_directory": str(tmp_path)}, "store": settings}, {})
    with pytest.raises(SettingsError, match=expected):
        open_store(loaded, store_kind(loaded), failures.append)


def test_what_another_seat_answers_is_nobody_members_or_nothing() -> None:
    assert judge(MET) is Heard.MEMBERS
    assert judge(b"HTTP/1.0 200 OK\r\n\r\n[]") is Heard.NO_DATA
    for nothing in (b"", b"HTTP/1.1 503 No\r\n\r\n[]", b"HTTP/1.1 200 OK\r\n\r\n[1]", b"HTTP/1.1 200 OK\r\n\r\n"):
        assert judge(nothing) is Heard.NOTHING


def hearing(addresses: list[str]) -> list[Beginning]:
    """One for each address, all at once, for two slices."""
    found = [Beginning(own, own, [other for other in addresses if other != own]) for own in addresses]

    def hear_twice(beginning: Beginning) -> None:
        beginning.hear()
        beginning.hear()

    threads = [threading.Thread(target=hear_twice, args=(beginning,)) for beginning in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def addresses_of(count: int) -> list[str]:
    return [free_url().removeprefix("http://") for _ in range(count)]


def test_three_seats_without_data_hear_each_other_and_begin() -> None:
    found = hearing(addresses_of(3))
    assert [beginning.missing for beginning in found] == [[], [], []]
    assert not any(beginning.was_there_before for beginning in found)


def test_nobody_begins_while_one_seat_is_silent() -> None:
    first, second, silent = addresses_of(3)
    for beginning in (Beginning(first, first, [second, silent]), Beginning(second, second, [first, silent])):
        beginning.hear()
        assert silent in beginning.missing
        assert not beginning.was_there_before


def test_a_seat_is_answered_as_etcd_answers_and_strangers_are_not() -> None:
    own, other = addresses_of(2)
    beginning = Beginning(own, own, [other])
    assert judge(beginning.answer(b"GET /members?seat=10.0.0.9:1&knows=1 HTTP/1.0\r\n\r\n")) is Heard.NO_DATA
    for nonsense in (b"", b"\x00\xff\r\n\r\n", b"POST /members HTTP/1.0\r\n\r\n", b"GET http://[ HTTP/1.0\r\n\r\n"):
        assert beginning.answer(nonsense) == b""
    assert beginning.missing == [other]


def test_a_seat_beside_an_etcd_that_was_there_before_joins_it(one_etcd: EtcdTestCluster) -> None:
    one_etcd.start()
    ((_, url),) = one_etcd.peers
    own, there = addresses_of(1)[0], url.removeprefix("http://")
    beginning = Beginning(own, own, [there])
    for _ in range(5):
        beginning.hear()
        assert beginning.was_there_before
        assert beginning.missing == [there]
