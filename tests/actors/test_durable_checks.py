"""Orders about durable data at ClientManager: what breaks a rule is refused by the name of its field and goes no
further; what keeps them all, at the very limit too, passes on under the name of its client."""

from __future__ import annotations

import math
from typing import Any

import pytest

from actors.messages.values import Order
from rollbook.checkers import HEADERS_LENGTH_MAX, PATH_LENGTH_MAX, CheckerSettings
from rollbook.durable import (
    CLUSTERS_MAX,
    DESCRIPTION_LENGTH_MAX,
    NAMESPACE_NAME_LENGTH_MAX,
    Intent,
    Namespace,
    ServiceSettings,
)
from rollbook.durable_bodies import (
    PERSISTENT_PER_ORDER_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import Code
from rollbook.kept_rows import DurableRows, IntentRow, RestoreRows
from rollbook.model import (
    CLUSTER_LENGTH_MAX,
    IP_LENGTH_MAX,
    METADATA_LENGTH_MAX,
    NAMESPACE_LENGTH_MAX,
    SERVICE_NAME_LENGTH_MAX,
    WEIGHT_MAX,
    Instance,
    InstanceKey,
    Service,
)
from rollbook.wire import Failed, Ping, Tag
from tests.support.client_manager_bench import SERVICE, manager, opened, ordered

KEY = InstanceKey("10.0.0.1", 1)
DOWN = Intent(enabled=False)
NAN = math.nan
LONG_NAME = "é" * (SERVICE_NAME_LENGTH_MAX + 1)


def publish(*instances: Instance) -> PublishPersistent:
    return PublishPersistent(SERVICE, instances)


def kept(port: int = 1, **fields: Any) -> Instance:
    return Instance(**{"ip": "10.0.0.1", "port": port, "ephemeral": False, **fields})


def put(threshold: float = 0.0, **fields: Any) -> PutService:
    return PutService(SERVICE, ServiceSettings(threshold, **fields))


def probed(**fields: Any) -> PutService:
    return put(checkers={"DEFAULT": CheckerSettings(**fields)})


def wanted(intent: Intent) -> SetIntent:
    return SetIntent(SERVICE, KEY, intent)


def restored(*intents: Intent) -> RestoreRows:
    rows = tuple(IntentRow(SERVICE, KEY, intent, "kept 9", "ann", 10, 0) for intent in intents)
    return RestoreRows(DurableRows(intents=rows))


def named(name: str) -> Service:
    return Service("public", "shop", name)


INSTANCE, WEIGHT, METADATA = Code.INSTANCE_INVALID, Code.INSTANCE_WEIGHT_INVALID, Code.INSTANCE_METADATA_INVALID
PARAMETER, OF_SERVICE, NAME = Code.PARAMETER_INVALID, Code.SERVICE_METADATA_INVALID, Code.SERVICE_NAME_INVALID

BROKEN = {
    "no instance": (publish(), PARAMETER, "instances"),
    "too many instances": (
        publish(*(kept(port) for port in range(PERSISTENT_PER_ORDER_MAX + 1))),
        PARAMETER,
        "instances",
    ),
    "an ephemeral instance among others": (publish(kept(1), Instance("10.0.0.1", 2)), INSTANCE, "ephemeral"),
    "a weight that is no number": (publish(kept(weight=NAN)), WEIGHT, "weight"),
    "a weight without end": (publish(kept(weight=math.inf)), WEIGHT, "weight"),
    "a negative port": (publish(kept(-1)), INSTANCE, "port"),
    "an address with white space": (publish(kept(ip="10.0.0.1 instance")), INSTANCE, "ip"),
    "a huge address": (publish(kept(ip="1" * (IP_LENGTH_MAX + 1))), INSTANCE, "ip"),
    "no key": (WithdrawPersistent(SERVICE, ()), PARAMETER, "keys"),
    "too many keys": (WithdrawPersistent(SERVICE, (KEY,) * (PERSISTENT_PER_ORDER_MAX + 1)), PARAMETER, "keys"),
    "a key with a port beyond all": (WithdrawPersistent(SERVICE, (InstanceKey("10.0.0.1", 65_536),)), INSTANCE, "port"),
    "a key of no service": (WithdrawPersistent(named(""), (KEY,)), NAME, "service"),
    "a threshold that is no number": (put(NAN), OF_SERVICE, "protection_threshold"),
    "a threshold above one": (put(1.001), OF_SERVICE, "protection_threshold"),
    "a negative threshold": (put(-0.001), OF_SERVICE, "protection_threshold"),
    "long metadata of a service": (put(metadata={"k": "v" * METADATA_LENGTH_MAX}), OF_SERVICE, "metadata"),
    "too many checkers": (
        put(checkers={f"c{number}": CheckerSettings() for number in range(CLUSTERS_MAX + 1)}),
        PARAMETER,
        "checkers",
    ),
    "a checker of no cluster": (put(checkers={"": CheckerSettings()}), PARAMETER, "checkers"),
    "a cluster with white space": (put(checkers={"a b": CheckerSettings()}), PARAMETER, "checkers"),
    "a long cluster": (put(checkers={"c" * (CLUSTER_LENGTH_MAX + 1): CheckerSettings()}), PARAMETER, "checkers"),
    "a checker's port": (probed(port=0), PARAMETER, "port"),
    "a checker's negative port": (probed(port=-80), PARAMETER, "port"),
    "a checker's status": (probed(expected_status=600), PARAMETER, "expected_status"),
    "a path of two lines": (probed(path="/\r\nHost: other"), PARAMETER, "path"),
    "a long path": (probed(path="/" * (PATH_LENGTH_MAX + 1)), PARAMETER, "path"),
    "headers of two requests": (probed(headers="a:b\r\n\r\nGET"), PARAMETER, "headers"),
    "long headers": (probed(headers="a:" + "b" * HEADERS_LENGTH_MAX), PARAMETER, "headers"),
    "settings of a long name": (PutService(named(LONG_NAME), ServiceSettings()), NAME, "service"),
    "settings to go of a name with white space": (DeleteService(named("a b")), NAME, "service"),
    "a question about a name with a line break": (GetService(named("a\n")), NAME, "service"),
    "a namespace in another script": (PutNamespace(Namespace("läden", "Shops")), PARAMETER, "namespace"),
    "a namespace of no name": (PutNamespace(Namespace("shops", "")), PARAMETER, "name"),
    "a long name": (
        PutNamespace(Namespace("shops", "n" * (NAMESPACE_NAME_LENGTH_MAX + 1))),
        PARAMETER,
        "name",
    ),
    "a long description": (
        PutNamespace(Namespace("shops", "Shops", "d" * (DESCRIPTION_LENGTH_MAX + 1))),
        PARAMETER,
        "description",
    ),
    "a namespace to go without an id": (DeleteNamespace(""), PARAMETER, "namespace"),
    "a long namespace to go": (DeleteNamespace("n" * (NAMESPACE_LENGTH_MAX + 1)), PARAMETER, "namespace"),
    "an intent that says nothing": (wanted(Intent()), PARAMETER, "intent"),
    "an intended weight that is no number": (wanted(Intent(weight=NAN)), WEIGHT, "weight"),
    "an intended weight below zero": (wanted(Intent(weight=-0.5)), WEIGHT, "weight"),
    "an intended weight beyond all": (wanted(Intent(weight=WEIGHT_MAX + 1)), WEIGHT, "weight"),
    "long metadata of an intent": (wanted(Intent(metadata={"k" * METADATA_LENGTH_MAX: "v"})), METADATA, "metadata"),
    "an intent for no port": (SetIntent(SERVICE, InstanceKey("10.0.0.1", -1), DOWN), INSTANCE, "port"),
    "an intent for a cluster with white space": (
        SetIntent(SERVICE, InstanceKey("10.0.0.1", 1, "a b"), DOWN),
        INSTANCE,
        "cluster",
    ),
    "an intent for a long name": (SetIntent(named(LONG_NAME), KEY, DOWN), NAME, "service"),
    "an intent to go of no address": (ClearIntent(SERVICE, InstanceKey("", 1)), INSTANCE, "ip"),
    "an intent to go of no service": (ClearIntent(named(""), KEY), NAME, "service"),
    "no row of a backup": (restored(), PARAMETER, "rows"),
    "a row of two decisions": (restored(Intent(enabled=False, weight=2.0)), PARAMETER, "intent"),
    "a row of no decision": (restored(Intent()), PARAMETER, "intent"),
    "two rows in one place": (restored(DOWN, Intent(enabled=True)), PARAMETER, "rows"),
}

AT_THE_LIMIT = {
    "instances": publish(*(kept(port) for port in range(PERSISTENT_PER_ORDER_MAX))),
    "keys": WithdrawPersistent(SERVICE, tuple(InstanceKey("10.0.0.1", port) for port in range(60))),
    "all are shown": put(1.0, metadata={"k": "v" * (METADATA_LENGTH_MAX - 1)}),
    "checkers": put(checkers={f"c{number}": CheckerSettings() for number in range(CLUSTERS_MAX)}),
    "a checker": probed(port=65_535, path="/" * PATH_LENGTH_MAX, expected_status=599),
    "a name": PutService(named("é" * SERVICE_NAME_LENGTH_MAX), ServiceSettings()),
    "a namespace": PutNamespace(
        Namespace("n" * NAMESPACE_LENGTH_MAX, "é" * NAMESPACE_NAME_LENGTH_MAX, "é" * DESCRIPTION_LENGTH_MAX)
    ),
    "the largest weight": wanted(Intent(weight=WEIGHT_MAX)),
    "no weight": wanted(Intent(weight=0.0)),
    "one row for each decision": restored(DOWN, Intent(weight=2.0), Intent(metadata={"zone": "b"})),
    "metadata of an intent": wanted(Intent(metadata={"k": "v" * (METADATA_LENGTH_MAX - 1)})),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_durable_order_that_breaks_a_rule_is_refused_by_its_field_and_costs_nothing_else(kind: str) -> None:
    body, code, field = BROKEN[kind]
    clients = manager()
    route = opened(clients, "app", 1)
    changes, _ = ordered(clients, route, body, Ping())
    refused, pong = changes.replies
    assert isinstance(refused.body, Failed)
    assert (refused.body.code, refused.body.field, refused.body.retryable) == (code, field, False)
    assert pong.tag is Tag.PONG, "the session lives"
    assert changes.persistent == ()


@pytest.mark.parametrize("kind", AT_THE_LIMIT)
def test_a_durable_order_at_the_limit_passes_on_under_the_name_of_its_client(kind: str) -> None:
    clients = manager()
    route = opened(clients, "app", 1)
    changes, _ = ordered(clients, route, AT_THE_LIMIT[kind])
    assert changes.replies == ()
    assert changes.persistent == (Order(route, 1, AT_THE_LIMIT[kind], "app"),)
