"""``rollbook offline``, ``rollbook online``, ``rollbook weight``: what an operator wants of one instance, whatever its
application publishes. Whether it serves and its weight are two decisions: neither touches the other.
"""

from __future__ import annotations

from typing import Annotated

import typer

from rollbook import Intent, Service
from rollbook.cli.clients import author_client
from rollbook.cli.options import (
    AddressArgument,
    ClusterOption,
    Common,
    GroupOption,
    JsonOption,
    NamespaceOption,
    ServerOption,
    ServiceArgument,
    TimeoutOption,
    common_options,
    parse_ip_and_port,
    parse_service,
)
from rollbook.cli.output import ExitCode, address_text, duration_text, intent_json, intent_text, print_event
from rollbook.durable import IntentField
from rollbook.errors import InvalidField
from rollbook.model import DEFAULT_CLUSTER, DEFAULT_GROUP, DEFAULT_NAMESPACE, InstanceKey

ForOption = Annotated[
    float | None,
    typer.Option("--for", metavar="SECONDS", help="How long; until it is ended, if not said.", show_default=False),
]


def offline(
    context: typer.Context,
    service: ServiceArgument,
    address: AddressArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    for_seconds: ForOption = None,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Take an instance out of service, until rollbook online, for some time, or until another process publishes it.

    A weight that it was given stays.
    """
    common = common_options(context, server, json)
    place = _place(service, namespace, group, address, cluster)
    return _decided(common, timeout, "offline", *place, Intent(enabled=False), for_seconds)


def online(
    context: typer.Context,
    service: ServiceArgument,
    address: AddressArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """End rollbook offline: the instance serves if its application says so.

    A weight that it was given stays.
    """
    common = common_options(context, server, json)
    return _cleared(common, timeout, "online", *_place(service, namespace, group, address, cluster), "enabled")


def weight(
    context: typer.Context,
    service: ServiceArgument,
    address: AddressArgument,
    value: Annotated[
        float | None,
        typer.Argument(metavar="WEIGHT", help="Its share of calls, 0 to 10000.", min=0.0, show_default=False),
    ] = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    clear: Annotated[bool, typer.Option("--clear", help="Show what its application publishes again.")] = False,
    for_seconds: ForOption = None,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Give an instance another weight, until it is cleared, for some time, or until another process publishes it.

    If it is offline, it stays so.
    """
    common = common_options(context, server, json)
    place = _place(service, namespace, group, address, cluster)
    if (value is None) != clear or (clear and for_seconds is not None):
        raise InvalidField("say a WEIGHT, for some time or not, or --clear", field="weight")
    if value is None:
        return _cleared(common, timeout, "cleared", *place, "weight")
    return _decided(common, timeout, "weight", *place, Intent(weight=value), for_seconds)


def _place(service: str, namespace: str, group: str, address: str, cluster: str) -> tuple[Service, InstanceKey]:
    return parse_service(service, namespace, group), InstanceKey(*parse_ip_and_port(address), cluster)


def _decided(
    common: Common,
    timeout: float,
    event: str,
    service: Service,
    key: InstanceKey,
    intent: Intent,
    for_seconds: float | None,
) -> int:
    with author_client(common, timeout, service.namespace) as client:
        client.admin.set_intent(
            service.name,
            key.ip,
            key.port,
            group=service.group,
            cluster=key.cluster,
            enabled=intent.enabled,
            weight=intent.weight,
            for_seconds=for_seconds,
        )
    for_how_long = "" if for_seconds is None else f"  for {duration_text(int(for_seconds * 1_000))}"
    wanted = "" if event == "offline" else f"  {intent_text(intent)}"
    facts = {**_facts(service, key), **intent_json(intent), "for_seconds": for_seconds}
    print_event(event, f"{_text(service, key)}{wanted}{for_how_long}", facts, as_json=common.json)
    return ExitCode.OK


def _cleared(common: Common, timeout: float, event: str, service: Service, key: InstanceKey, field: IntentField) -> int:
    with author_client(common, timeout, service.namespace) as client:
        client.admin.clear_intent(
            service.name, key.ip, key.port, group=service.group, cluster=key.cluster, fields=[field]
        )
    what = "" if event == "online" else f"  {field}"
    facts = {**_facts(service, key), "field": field}
    print_event(event, f"{_text(service, key)}{what}", facts, as_json=common.json)
    return ExitCode.OK


def _facts(service: Service, key: InstanceKey) -> dict[str, object]:
    return {"namespace": service.namespace, "service": service.grouped_name, **key._asdict()}


def _text(service: Service, key: InstanceKey) -> str:
    where = "" if key.cluster == DEFAULT_CLUSTER else f"  cluster {key.cluster}"
    return f"{service.grouped_name}  {address_text(key.ip, key.port)}{where}"
