"""``NamingClient.admin``: what it sends, what it gives back, and what it refuses before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from rollbook import Administration, InvalidField, NamingClient, Refused
from rollbook.cache import snapshot_of
from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import (
    INTENT_MS_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    PutNamespace,
    PutService,
    SetIntent,
    ShownIntent,
)
from rollbook.errors import Code
from rollbook.kept_rows import DurableRows, NamespaceRow
from rollbook.model import Instance, InstanceKey, Service, View
from tests.support.small_decisions import WRITTEN_MS
from tests.support.small_registry import SmallRegistry

ORDERS = Service("prod", "billing", "orders")
KEY = InstanceKey("10.0.0.1", 80, "EAST")
ORDERS_HERE, KEY_HERE = Service("prod", "DEFAULT_GROUP", "orders"), InstanceKey("10.0.0.1", 80)
CHECKER = CheckerSettings("http", path="/health")


class Administered:
    def __init__(self, registry: SmallRegistry, client: NamingClient) -> None:
        self.registry = registry
        self.client = client
        self.admin = client.admin

    @property
    def last(self) -> Any:
        return self.registry.requests[-1]


@pytest.fixture
def administered() -> Iterator[Administered]:
    with SmallRegistry() as registry, NamingClient(registry.address, namespace="prod", client_id="ann") as client:
        yield Administered(registry, client)


def test_settings_of_a_service_are_put_whole_and_shown_with_their_author(administered: Administered) -> None:
    admin = administered.admin
    admin.put_service(
        "orders",
        group="billing",
        protection_threshold=0.5,
        metadata={"team": "a"},
        checkers={"EAST": CHECKER},
        mode="create",
    )
    settings = ServiceSettings(0.5, {"team": "a"}, {"EAST": CHECKER})
    assert administered.last == PutService(ORDERS, settings, "create")
    shown = admin.get_service("orders", group="billing")
    assert (shown.service, shown.settings, shown.author, shown.written_ms) == (ORDERS, settings, "ann", WRITTEN_MS)
    admin.put_service("orders", group="billing")
    assert admin.get_service("orders", group="billing").settings == ServiceSettings()


def test_of_a_service_that_nobody_has_put_the_defaults_are_shown(administered: Administered) -> None:
    shown = administered.admin.get_service("orders")
    assert (shown.settings, shown.author, shown.index) == (ServiceSettings(), "", 0)


@pytest.mark.parametrize(("mode", "code"), [("create", Code.SERVICE_EXISTS), ("update", Code.SERVICE_NOT_FOUND)])
def test_what_the_mode_forbids_is_refused_with_its_code(administered: Administered, mode: Any, code: Code) -> None:
    if mode == "create":
        administered.admin.put_service("orders")
    with pytest.raises(Refused) as raised:
        administered.admin.put_service("orders", mode=mode)
    assert raised.value.code == code


def test_settings_of_a_service_are_deleted_once(administered: Administered) -> None:
    administered.admin.put_service("orders", group="billing")
    administered.admin.delete_service("orders", group="billing")
    assert administered.last == DeleteService(ORDERS)
    with pytest.raises(Refused) as raised:
        administered.admin.delete_service("orders", group="billing")
    assert raised.value.code == Code.SERVICE_NOT_FOUND


def test_an_intent_is_set_shown_and_cleared(administered: Administered) -> None:
    client, place = administered.client, ("orders", "10.0.0.1", 80)
    client.register_instance(*place, group="billing", cluster="EAST", metadata={"zone": "a"})
    wanted: dict[str, Any] = {"enabled": False, "weight": 2, "metadata": {"zone": "b"}}
    client.admin.set_intent(*place, group="billing", cluster="EAST", for_seconds=0.25, **wanted)
    assert administered.last == SetIntent(ORDERS, KEY, Intent(False, 2.0, {"zone": "b"}), 250)
    shown = client.admin.get_service("orders", group="billing")
    assert shown.intents == tuple(
        ShownIntent(KEY, intent, "ann", WRITTEN_MS, WRITTEN_MS + 250)
        for intent in (Intent(enabled=False), Intent(metadata={"zone": "b"}), Intent(weight=2.0))
    )
    found = client.get_all_instances("orders", group="billing", subscribe=False)
    assert list(found) == []
    assert found.disabled == (Instance(*KEY, weight=2.0, enabled=False, metadata={"zone": "b"}),)
    client.admin.clear_intent(*place, group="billing", cluster="EAST")
    assert administered.last == ClearIntent(ORDERS, KEY)
    found = client.get_all_instances("orders", group="billing", subscribe=False)
    assert (list(found), found.disabled) == ([Instance(*KEY, metadata={"zone": "a"})], ())


def test_what_an_intent_does_not_say_stays_and_fields_are_cleared_by_name(administered: Administered) -> None:
    place, admin = ("orders", "10.0.0.1", 80), administered.admin
    administered.client.register_instance(*place, ephemeral=False)
    admin.set_intent(*place, enabled=False)
    admin.set_intent(*place, weight=2)
    admin.set_intent(*place, metadata={"zone": "b"})
    assert administered.last == SetIntent(ORDERS_HERE, KEY_HERE, Intent(metadata={"zone": "b"}))
    admin.clear_intent(*place, fields=["metadata", "enabled", "enabled"])
    assert administered.last == ClearIntent(ORDERS_HERE, KEY_HERE, ("enabled", "metadata"))
    assert [shown.intent for shown in admin.get_service("orders").intents] == [Intent(weight=2.0)]
    administered.client.deregister_instance(*place, ephemeral=False)
    assert [shown.listed for shown in admin.get_service("orders").intents] == [False]


def test_an_intent_without_an_end_holds_for_ever_and_the_shortest_for_a_millisecond(
    administered: Administered,
) -> None:
    administered.client.register_instance("orders", "10.0.0.1", 80)
    for for_seconds, for_ms in ((None, 0), (0.0001, 1), (INTENT_MS_MAX // 1_000, INTENT_MS_MAX)):
        administered.admin.set_intent("orders", "10.0.0.1", 80, weight=0, for_seconds=for_seconds)
        assert (administered.last.for_ms, administered.last.intent) == (for_ms, Intent(weight=0.0))


def test_namespaces_are_put_listed_and_deleted(administered: Administered) -> None:
    admin = administered.admin
    admin.put_namespace("prod", "production", description="of the shop", mode="create")
    assert administered.last == PutNamespace(Namespace("prod", "production", "of the shop"), "create")
    admin.put_namespace("dev")
    assert administered.last == PutNamespace(Namespace("dev", "dev"), "put")
    assert [namespace.id for namespace in admin.list_namespaces()] == ["dev", "prod", "public"]
    admin.delete_namespace("dev")
    assert administered.last == DeleteNamespace("dev")
    assert [namespace.id for namespace in admin.list_namespaces()] == ["prod", "public"]


def refused(field: str, call: Callable[[Administration], object]) -> Any:
    return pytest.param(field, call, id=field)


AT: Any = ("orders", "10.0.0.1", 80)
ODD: Any = object()


@pytest.mark.parametrize(
    ("field", "call"),
    [
        refused("service", lambda admin: admin.put_service("a@@b")),
        refused("service", lambda admin: admin.delete_service(ODD)),
        refused("service", lambda admin: admin.get_service("orders\ud800")),
        refused("group", lambda admin: admin.get_service("orders", group="")),
        refused("group", lambda admin: admin.delete_service("orders", group=ODD)),
        refused("protection_threshold", lambda admin: admin.put_service("orders", protection_threshold=1.5)),
        refused("protection_threshold", lambda admin: admin.put_service("orders", protection_threshold=float("nan"))),
        refused(
            "protection_threshold", lambda admin: admin.put_service("orders", protection_threshold=cast(Any, "half"))
        ),
        refused("metadata", lambda admin: admin.put_service("orders", metadata={"a": "x" * 2_000})),
        refused("metadata", lambda admin: admin.put_service("orders", metadata=ODD)),
        refused("checkers", lambda admin: admin.put_service("orders", checkers=ODD)),
        refused("checkers", lambda admin: admin.put_service("orders", checkers={"no name": CHECKER})),
        refused("path", lambda admin: admin.put_service("orders", checkers={"EAST": CheckerSettings(path="a b")})),
        refused("mode", lambda admin: admin.put_service("orders", mode=ODD)),
        refused("intent", lambda admin: admin.set_intent(*AT)),
        refused("weight", lambda admin: admin.set_intent(*AT, weight=-1)),
        refused("enabled", lambda admin: admin.set_intent(*AT, enabled=cast(Any, "no"))),
        refused("cluster", lambda admin: admin.set_intent(*AT, cluster="no name", enabled=False)),
        refused("port", lambda admin: admin.clear_intent("orders", "10.0.0.1", 70_000)),
        refused("for_seconds", lambda admin: admin.set_intent(*AT, enabled=False, for_seconds=0)),
        refused("for_seconds", lambda admin: admin.set_intent(*AT, enabled=False, for_seconds=INTENT_MS_MAX)),
        refused("for_seconds", lambda admin: admin.set_intent(*AT, enabled=False, for_seconds=ODD)),
        refused("metadata", lambda admin: admin.set_intent(*AT, enabled=False, metadata={})),
        refused("fields", lambda admin: admin.clear_intent(*AT, fields=[])),
        refused("fields", lambda admin: admin.clear_intent(*AT, fields=cast(Any, "weight"))),
        refused("fields", lambda admin: admin.clear_intent(*AT, fields=cast(Any, ["port"]))),
        refused("fields", lambda admin: admin.clear_intent(*AT, fields=ODD)),
        refused("namespace", lambda admin: admin.put_namespace("no id")),
        refused("name", lambda admin: admin.put_namespace("dev", "")),
        refused("description", lambda admin: admin.put_namespace("dev", description="x" * 1_025)),
        refused("namespace", lambda admin: admin.put_namespace(ODD)),
        refused("intent", lambda admin: admin.set_intent(*AT, enabled=ODD)),
        refused("namespace", lambda admin: admin.delete_namespace(ODD)),
        refused("mode", lambda admin: admin.put_namespace("dev", mode=ODD)),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_before_anything_is_sent(
    field: str, call: Callable[[Administration], object]
) -> None:
    with NamingClient("127.0.0.1:1", timeout=0.1) as client, pytest.raises(InvalidField) as raised:
        call(client.admin)
    assert raised.value.field.split(".")[0].split("[")[0] == field


def test_a_snapshot_keeps_what_a_view_says_of_protection() -> None:
    view = View(ORDERS, 1, protected=True)
    assert snapshot_of(view, 1).protected
    assert not snapshot_of(View(ORDERS, 1), 1).protected


def namespace_row(number: int) -> NamespaceRow:
    return NamespaceRow(Namespace(f"n{number}", "any"), "ann", 7)


def test_everything_is_read_page_by_page_and_each_says_where_it_stands(administered: Administered) -> None:
    administered.registry.rows.put(*map(namespace_row, range(5)))
    pages = list(administered.admin.read_durable())
    assert [(page.position, page.is_complete) for page in pages] == [(0, False), (2, False), (4, True)]
    assert [row for page in pages for row in page.rows] == [namespace_row(number) for number in range(5)]


def test_pages_of_two_states_are_never_taken_for_one(administered: Administered) -> None:
    administered.registry.rows.put(*map(namespace_row, range(5)))
    pages = administered.admin.read_durable()
    next(pages)
    administered.registry.rows.put(namespace_row(9))  # the same index, another content
    with pytest.raises(Refused) as raised:
        next(pages)
    assert raised.value.code == Code.READING_OVER


def test_rows_are_checked_before_they_are_sent(administered: Administered) -> None:
    admin = administered.admin
    wrong = NamespaceRow(Namespace("two words", "any"), "ann", 7)
    late = NamespaceRow(Namespace("n1", "any"), "ann", -1)
    many = tuple(map(namespace_row, range(61)))
    for rows in ((wrong,), (late,), many, (), (namespace_row(1), namespace_row(1))):
        with pytest.raises(InvalidField):
            admin.restore_rows(DurableRows(namespaces=rows))
    assert administered.registry.requests == []
    admin.restore_rows(DurableRows(namespaces=many[:60]))
    assert administered.registry.rows.restored == [60]
