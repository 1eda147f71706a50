"""What may be probed, how a checker becomes a request, and which node asks."""

from __future__ import annotations

import pytest

from actors.durable_rows import read_row, service_row_key, service_row_value
from actors.durable_values import KeptService
from actors.health_checker import HealthSettings
from actors.node_shares import NodeShares, identity_of
from actors.probe_targets import address_of, is_allowed, networks_of, probing_of, request_of
from rollbook.checkers import HEADERS_LENGTH_MAX, PATH_LENGTH_MAX, CheckerSettings, check_checker, headers_of
from rollbook.durable import CLUSTERS_MAX, ServiceSettings, check_settings
from rollbook.errors import InvalidField
from rollbook.kept_rows import MOMENT_MS_MAX
from rollbook.model import CLIENT_ID_LENGTH_MAX, CLUSTER_LENGTH_MAX, METADATA_LENGTH_MAX, InstanceKey, Service
from tests.support.settings import settings_of

NETWORKS = networks_of(settings_of("health", HealthSettings).networks)
TCP, HTTP = CheckerSettings(), CheckerSettings("http", path="up")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *((host, True) for host in ("10.1.2.3", "172.31.0.1", "192.168.1.1", "127.0.0.1", "::1", "fd00::1")),
        *((host, False) for host in ("8.8.8.8", "172.32.0.1", "169.254.169.254", "0.0.0.0", "::", "224.0.0.1")),
        *((host, False) for host in ("fe80::1", "fd00::1%eth0", "2001:db8::1", "::ffff:169.254.169.254")),
        ("::ffff:10.0.0.1", True),
    ],
)
def test_private_networks_and_loopback_are_probed_and_nothing_else(host: str, allowed: bool) -> None:
    address = address_of(host)
    assert address is not None
    assert is_allowed(address, NETWORKS) is allowed


@pytest.mark.parametrize("host", ["127.0.0.01", "0x7f.1", "2130706433", "db.internal", "localhost"])
def test_what_is_no_plain_address_is_a_name(host: str) -> None:
    assert address_of(host) is None
    assert probing_of(InstanceKey(host, 80), TCP, NETWORKS) is not None, "the prober looks at what it stands for"


@pytest.mark.parametrize("host", ["8.8.8.8", "a b", "a\r\nb", "käse", "a/b", "user@host", "", "x" * 300])
def test_other_hosts_are_not_probed(host: str) -> None:
    assert probing_of(InstanceKey(host, 80), TCP, NETWORKS) is None


def test_the_port_is_the_instances_unless_the_cluster_has_one() -> None:
    own, other = CheckerSettings(port=9_000), CheckerSettings(use_instance_port=False, port=9_000)
    key = InstanceKey("10.0.0.1", 8_080)
    assert [found.port for checker in (own, other) if (found := probing_of(key, checker, NETWORKS))] == [8_080, 9_000]
    assert probing_of(InstanceKey("10.0.0.1", 0), own, NETWORKS) is None, "nobody serves at port 0"


@pytest.mark.parametrize("path", ["up", "/up", "//up", "///up"])
def test_a_path_begins_with_exactly_one_slash(path: str) -> None:
    request = request_of("10.0.0.1", 80, CheckerSettings("http", path=path))
    assert request.startswith(b"GET /up HTTP/1.1\r\n")


def test_a_request_names_its_host_and_carries_its_headers() -> None:
    checker = CheckerSettings("http", path="", headers="X-Check: yes|Accept:*/*")
    assert request_of("fd00::1", 80, checker) == (
        b"GET / HTTP/1.1\r\nX-Check: yes\r\nAccept: */*\r\nHost: [fd00::1]:80\r\nConnection: close\r\n\r\n"
    )
    named = request_of("10.0.0.1", 80, CheckerSettings("http", headers="host:orders.example"))
    assert named == b"GET / HTTP/1.1\r\nhost: orders.example\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"path": "/a b"}, "path"),
        ({"path": "/a\r\nX: 1"}, "path"),
        ({"path": "/" + "a" * 1_024}, "path"),
        ({"headers": "no colon"}, "headers"),
        ({"headers": "X: a\r\nY: b"}, "headers"),
        ({"headers": "X Y: a"}, "headers"),
        ({"headers": "\u3000"}, "headers"),
        ({"headers": "Content-Length: 5"}, "headers"),
        ({"headers": "X:" + "a" * 2_048}, "headers"),
        ({"port": 0}, "port"),
        ({"port": 65_536}, "port"),
        ({"expected_status": 99}, "expected_status"),
    ],
)
def test_a_checker_that_cannot_be_used_is_refused_by_field(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_checker(CheckerSettings("http", **fields))  # type: ignore[arg-type]
    assert refused.value.field == field


def test_headers_are_parted_by_bars() -> None:
    assert headers_of("") == ()
    assert headers_of("A:1| B : 2 |") == (("A", "1"), ("B", "2"))


def identities(count: int) -> list[int]:
    service = Service("public", "DEFAULT_GROUP", "orders")
    return [identity_of(service, InstanceKey(f"10.0.{number // 250}.{number % 250}", 80)) for number in range(count)]


def test_instances_are_shared_evenly_and_alike_on_every_node() -> None:
    one, other = NodeShares(("n1", "n2", "n3")), NodeShares(("n3", "n1", "n2"))
    found = [one.node_for(identity) for identity in identities(3_000)]
    assert found == [other.node_for(identity) for identity in identities(3_000)]
    assert all(900 < found.count(node) < 1_100 for node in ("n1", "n2", "n3"))


def test_a_node_that_goes_moves_only_its_own_share() -> None:
    three, two = NodeShares(("n1", "n2", "n3")), NodeShares(("n1", "n2"))
    for identity in identities(1_000):
        before = three.node_for(identity)
        assert before == "n3" or two.node_for(identity) == before


def test_the_shares_are_the_same_in_every_life() -> None:
    first = identities(1)[0]
    assert first == identity_of(Service("public", "DEFAULT_GROUP", "orders"), InstanceKey("10.0.0.0", 80))
    assert first == KNOWN_IDENTITY, "all nodes of all versions must agree"
    assert NodeShares(()).node_for(first) == ""


KNOWN_IDENTITY = 10424889759121608382


def test_settings_at_their_longest_are_a_row_that_can_be_read() -> None:
    checker = CheckerSettings("http", path="/" * PATH_LENGTH_MAX, headers=" " * HEADERS_LENGTH_MAX)
    clusters = {f"{number:x>{CLUSTER_LENGTH_MAX}}": checker for number in range(CLUSTERS_MAX)}
    settings = check_settings(ServiceSettings(0.5, {"a": "\U0001f600" * (METADATA_LENGTH_MAX - 1)}, clusters))
    value = service_row_value(settings, "\U0001f600" * CLIENT_ID_LENGTH_MAX, MOMENT_MS_MAX)
    kept = read_row(service_row_key(Service("public", "shop", "orders")), value, 3)
    assert isinstance(kept, KeptService)
    assert kept.settings == settings
