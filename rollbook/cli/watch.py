"""``rollbook watch``: what is added to a service, removed from it and changed in it, as it happens."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer

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
    clock_text,
    instance_json,
    instance_text,
    moment_text,
    plain,
    print_json,
    say_note,
    show_client_log,
)
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Difference, Instance, InstanceKey, Service

_SIGNS = {"added": ("+", typer.colors.GREEN), "removed": ("-", typer.colors.RED), "changed": ("~", typer.colors.YELLOW)}


class WatchEvent(NamedTuple):
    """One instance that came, went or changed; ``before`` is what it was."""

    event: str
    instance: Instance
    before: Instance | None = None


def watch(
    context: typer.Context,
    service: ServiceArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    clusters: ClustersOption = "",
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Show additions, removals and changes of a service live, until Ctrl-C. What is there already comes first."""
    common = common_options(context, server, json)
    wanted = parse_service(service, namespace, group)
    news: queue.SimpleQueue[Difference] = queue.SimpleQueue()
    show_client_log("INFO")
    with command_client(common, timeout, namespace) as client:
        client.subscribe(
            wanted.name,
            lambda _, difference: news.put(difference),
            group=wanted.group,
            clusters=clusters.split(",") if clusters else None,
        )
        say_note(f"{clock_text()} watching {wanted.grouped_name}; Ctrl-C ends")
        known: dict[InstanceKey, Instance] = {}
        while True:
            for event in events_of(news.get(), known):
                _show(wanted, event, common.json)


def events_of(difference: Difference, known: dict[InstanceKey, Instance]) -> Iterator[WatchEvent]:
    """One event for each instance; ``known`` is brought up to date."""
    for instance in difference.removed:
        yield WatchEvent("removed", instance, known.pop(instance.key, None))
    for instance in difference.added:
        known[instance.key] = instance
        yield WatchEvent("added", instance)
    for instance in difference.changed:
        before = known.get(instance.key)
        known[instance.key] = instance
        yield WatchEvent("changed", instance, before)


def event_json(service: Service, event: WatchEvent) -> dict[str, Any]:
    value = {
        "time": moment_text(),
        "event": event.event,
        "service": service.grouped_name,
        "instance": instance_json(event.instance),
    }
    if event.event == "changed" and event.before is not None:
        value["before"] = instance_json(event.before)
    return value


def event_text(event: WatchEvent) -> str:
    text = f"{_SIGNS[event.event][0]} {instance_text(event.instance)}"
    if event.event == "changed" and event.before is not None:
        text += f"  (was: {instance_text(event.before)})"
    return text


def _show(service: Service, event: WatchEvent, as_json: bool) -> None:
    if as_json:
        print_json(event_json(service, event))
    else:
        typer.secho(f"{clock_text()} {plain(event_text(event))}", fg=_SIGNS[event.event][1])
