"""Lists as SDKs expect them."""

from __future__ import annotations

import msgspec
import pytest

from rollbook.errors import InvalidField
from rollbook.model import (
    DELETE_TIMEOUT_KEY,
    HEARTBEAT_INTERVAL_KEY,
    HEARTBEAT_TIMEOUT_KEY,
    PRESERVED_MS_MAX,
    Instance,
    Service,
    View,
    check_instance,
)
from runtime.gateway.shapes import RefTimes, service_shape

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
CLOCK_MS = 1_756_800_000_000


def view(*instances: Instance, version: int = CLOCK_MS << 16, protected: bool = False) -> View:
    return View(ORDERS, version, instances, protected=protected)


def test_a_duration_that_no_sdk_can_hold_does_not_spoil_the_list() -> None:
    """Java has them in 64 bits and refuses a list with a longer one, of whichever instance."""
    said = dict.fromkeys((HEARTBEAT_INTERVAL_KEY, HEARTBEAT_TIMEOUT_KEY, DELETE_TIMEOUT_KEY), "9" * 30)
    (shown,) = service_shape(view(check_instance(Instance("10.0.0.1", 80, metadata=said))), "", 7).hosts
    durations = (shown.instance_heart_beat_interval, shown.instance_heart_beat_time_out, shown.ip_delete_timeout)
    assert durations == (PRESERVED_MS_MAX,) * 3
    assert shown.metadata == said


def test_a_list_has_every_field_of_the_original_and_no_null() -> None:
    shape = service_shape(view(Instance("10.0.0.1", 80, metadata={"a": "b"})), "DEFAULT", 7)
    assert msgspec.json.decode(msgspec.json.encode(shape)) == {
        "name": "orders",
        "groupName": "DEFAULT_GROUP",
        "clusters": "DEFAULT",
        "cacheMillis": 10_000,
        "hosts": [
            {
                "instanceId": "10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@orders",
                "ip": "10.0.0.1",
                "port": 80,
                "weight": 1.0,
                "healthy": True,
                "enabled": True,
                "ephemeral": True,
                "clusterName": "DEFAULT",
                "serviceName": "DEFAULT_GROUP@@orders",
                "metadata": {"a": "b"},
                "instanceHeartBeatInterval": 5_000,
                "instanceHeartBeatTimeOut": 15_000,
                "ipDeleteTimeout": 30_000,
                "instanceIdGenerator": "simple",
            }
        ],
        "lastRefTime": 7,
        "reachProtectionThreshold": False,
        "checksum": "",
        "allIps": False,
        "allIPs": False,
        "valid": True,
    }


def test_over_http_a_list_has_the_grouped_name() -> None:
    assert service_shape(view(), "", 1, is_grouped=True).name == "DEFAULT_GROUP@@orders"


def test_a_list_holds_enabled_instances_of_the_clusters_asked_for() -> None:
    kept = (Instance("10.0.0.1", 80, "c1"), Instance("10.0.0.2", 80, "c1", enabled=False), Instance("10.0.0.3", 80))
    assert [host.ip for host in service_shape(view(*kept), "c1,c2", 1).hosts] == ["10.0.0.1"]


def test_unhealthy_ones_are_listed_unless_only_healthy_ones_are_asked_for() -> None:
    kept = (Instance("10.0.0.1", 80), Instance("10.0.0.2", 80, healthy=False))
    assert len(service_shape(view(*kept), "", 1).hosts) == 2
    assert [host.ip for host in service_shape(view(*kept), "", 1, healthy_only=True).hosts] == ["10.0.0.1"]


def test_a_protected_list_says_so() -> None:
    assert service_shape(view(protected=True), "", 1).reach_protection_threshold


def test_a_filter_that_breaks_the_name_rules_is_refused() -> None:
    with pytest.raises(InvalidField, match="clusters"):
        service_shape(view(), "c 1", 1)


def test_the_reference_time_is_the_clock_of_the_view_and_rises_with_each_newer_one() -> None:
    times = RefTimes(services_max=10)
    first = view(version=CLOCK_MS << 16)
    assert times.of(first) == CLOCK_MS
    assert times.of(view(version=(CLOCK_MS << 16) + 1)) == CLOCK_MS + 1
    assert times.of(view(version=(CLOCK_MS << 16) + 2)) == CLOCK_MS + 2
    assert times.of(view(version=(CLOCK_MS + 50) << 16)) == CLOCK_MS + 50


def test_the_same_view_and_an_older_one_have_the_reference_time_of_the_newest() -> None:
    times = RefTimes(services_max=10)
    newest = view(version=(CLOCK_MS + 9) << 16)
    assert times.of(newest) == times.of(newest) == times.of(view()) == CLOCK_MS + 9


def test_reference_times_are_kept_of_so_many_services_only() -> None:
    times = RefTimes(services_max=2)
    for number in range(5):
        times.of(View(Service("public", "DEFAULT_GROUP", f"s{number}"), CLOCK_MS << 16))
    assert len(times) == 2
