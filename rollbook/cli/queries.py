"""``rollbook services`` and ``rollbook instances``: what a node holds now."""

from __future__ import annotations

from typing import Annotated

import typer

from rollbook import InstanceList, NamingClient
from rollbook.cli.clients import command_client
from rollbook.cli.options import (
    ClustersOption,
    GroupOption,
    JsonOption,
    NamespaceOption,
    ServerOption,
    ServiceArgument,
    TimeoutOption,
    common_options,
    parse_service,
)
from rollbook.cli.output import (
    ExitCode,
    address_text,
    duration_text,
    instance_json,
    metadata_text,
    print_json,
    print_line,
    print_table,
    say_note,
    wall_ms,
)
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Instance
from rollbook.wire import PAGE_SIZE_MAX

# Why a list may differ from what lives; the names of what it says of itself.
_RESERVATIONS = {
    "warming": "the cluster has just started: there may be more",
    "preserved": "more than half of the nodes look dead: nothing was removed, so some of these may be dead",
    "protected": "so few are healthy that all are shown as healthy (protection threshold)",
    "guarded": "most of this service was behind a node that died: what has not come back is shown one lease longer",
}
HealthyOption = Annotated[bool, typer.Option("--healthy", help="Only instances that callers would be given.")]


def services(
    context: typer.Context,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """List the services of a group that have a publisher."""
    common = common_options(context, server, json)
    with command_client(common, timeout, namespace) as client:
        names = _all_services(client, group)
    if common.json:
        print_json({"namespace": namespace, "group": group, "total": len(names), "services": names})
    elif not names:
        say_note(f"no services in group {group} of namespace {namespace}")
    else:
        for name in names:
            print_line(name)
    return ExitCode.OK


def instances(
    context: typer.Context,
    service: ServiceArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    clusters: ClustersOption = "",
    healthy: HealthyOption = False,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """List the instances of a service, disabled ones too; exit code 1 if there is none."""
    common = common_options(context, server, json)
    wanted = parse_service(service, namespace, group)
    with command_client(common, timeout, namespace) as client:
        found = client.get_all_instances(
            wanted.name, group=wanted.group, clusters=clusters.split(",") if clusters else None, subscribe=False
        )
    everything = sorted((*found, *found.disabled), key=lambda instance: instance.key)
    shown = [instance for instance in everything if not healthy or _is_offered(instance)]
    if common.json:
        listed = [instance_json(instance) for instance in shown]
        flags = {name: getattr(found, name) for name in (*_RESERVATIONS, "stale_since_ms")}
        print_json({"namespace": namespace, "service": wanted.grouped_name, "instances": listed, **flags})
    elif shown:
        _print_instances(shown)
    else:
        say_note(f"no instances of {wanted.grouped_name}")
    for reservation in [] if common.json else reservations(found, wall_ms()):
        say_note(reservation)
    return ExitCode.OK if shown else ExitCode.REFUSED


def reservations(found: InstanceList, now_ms: int) -> list[str]:
    """What else is to be known of this list. ``now_ms``: by the wall clock here, which may differ from the node's."""
    sentences = [sentence for name, sentence in _RESERVATIONS.items() if getattr(found, name)]
    if found.stale_since_ms:
        age = duration_text(max(0, now_ms - found.stale_since_ms))
        sentences.append(f"the node cannot follow the store: persistent instances are as they were {age} ago")
    return sentences


def _all_services(client: NamingClient, group: str) -> list[str]:
    """Every page; the list may change meanwhile, so it ends at an empty page too."""
    names: list[str] = []
    page = 1
    while True:
        total, found = client.get_services(page, PAGE_SIZE_MAX, group=group)
        names += found
        if len(names) >= total or not found:
            return names
        page += 1


def _is_offered(instance: Instance) -> bool:
    return instance.healthy and instance.enabled and instance.weight > 0


def _print_instances(shown: list[Instance]) -> None:
    """Of which kind they are, and whether they are enabled, is said where that is not as usual."""
    is_kind_shown = not all(instance.ephemeral for instance in shown)
    is_state_shown = not all(instance.enabled for instance in shown)
    columns = ["address", *(["kind"] if is_kind_shown else []), "cluster", "weight", "healthy"]
    columns += [*(["enabled"] if is_state_shown else []), "metadata"]
    rows = [
        [
            address_text(instance.ip, instance.port),
            *(["ephemeral" if instance.ephemeral else "persistent"] if is_kind_shown else []),
            instance.cluster,
            f"{instance.weight:g}",
            "yes" if instance.healthy else "no",
            *(["yes" if instance.enabled else "no"] if is_state_shown else []),
            metadata_text(instance.metadata),
        ]
        for instance in shown
    ]
    print_table(columns, rows, right=["weight"])
