"""``rollbook offline``, ``rollbook weight``, ``rollbook online``: what an operator wants of one instance, whatever its
application publishes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
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
from rollbook.cli.output import ExitCode, address_text, duration_text, intent_text, print_event
from rollbook.model import DEFAULT_CLUSTER, DEFAULT_GROUP, DEFAULT_NAMESPACE, InstanceKey

ForOption = Annotated[
    float | None,
    typer.Option("--for", metavar="SECONDS", help="How long; until rollbook online, if not said.", show_default=False),
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

    It takes the place of what was decided of this instance before.
    """
    common = common_options(context, server, json)
    place = _place(service, namespace, group, address, cluster)
    return _decided(common, timeout, "offline", *place, Intent(enabled=False), for_seconds)


def weight(
    context: typer.Context,
    service: ServiceArgument,
    address: AddressArgument,
    value: Annotated[float, typer.Argument(metavar="WEIGHT", help="Its share of calls, 0 to 10000.", min=0.0)],
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    for_seconds: ForOption = None,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Give an instance another weight, until rollbook online, for some time, or until another process publishes it.

    It takes the place of what was decided of this instance before.
    """
    common = common_options(context, server, json)
    place = _place(service, namespace, group, address, cluster)
    return _decided(common, timeout, "weight", *place, Intent(weight=value), for_seconds)


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
    """Show an instance as its application publishes it: the end of rollbook offline and rollbook weight."""
    common = common_options(context, server, json)
    wanted, key = _place(service, namespace, group, address, cluster)
    with author_client(common, timeout, namespace) as client:
        client.admin.clear_intent(wanted.name, key.ip, key.port, group=wanted.group, cluster=key.cluster)
    print_event("online", _text(wanted, key), _facts(wanted, key), as_json=common.json)
    return ExitCode.OK


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
    facts = {**_facts(service, key), **msgspec.structs.asdict(intent), "for_seconds": for_seconds}
    print_event(event, f"{_text(service, key)}{wanted}{for_how_long}", facts, as_json=common.json)
    return ExitCode.OK


def _facts(service: Service, key: InstanceKey) -> dict[str, object]:
    return {"namespace": service.namespace, "service": service.grouped_name, **key._asdict()}


def _text(service: Service, key: InstanceKey) -> str:
    where = "" if key.cluster == DEFAULT_CLUSTER else f"  cluster {key.cluster}"
    return f"{service.grouped_name}  {address_text(key.ip, key.port)}{where}"
