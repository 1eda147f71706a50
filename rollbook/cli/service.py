"""``rollbook service show | put | delete``: what is kept of a service beside its instances."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from rollbook import CheckerSettings, ServiceShown, ShownIntent
from rollbook.cli.clients import author_client, command_client
from rollbook.cli.options import (
    GroupOption,
    JsonOption,
    MetadataOption,
    NamespaceOption,
    ServerOption,
    ServiceArgument,
    TimeoutOption,
    common_options,
    parse_checker,
    parse_metadata,
    parse_service,
)
from rollbook.cli.output import (
    ExitCode,
    address_text,
    intent_json,
    intent_text,
    metadata_text,
    print_event,
    print_json,
    print_line,
    print_table,
    time_text,
)
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE

service = typer.Typer(name="service", help="Settings that are kept of a service.")


class Mode(StrEnum):
    """Whether there may, must not or must be something already."""

    PUT = "put"
    CREATE = "create"
    UPDATE = "update"


ModeOption = Annotated[
    Mode, typer.Option("--mode", help="Whatever is there; only if there is nothing; only if there is something.")
]


@service.command()
def show(
    context: typer.Context,
    name: ServiceArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Show the settings of a service, who put them, and what operators want of its instances."""
    common = common_options(context, server, json)
    wanted = parse_service(name, namespace, group)
    with command_client(common, timeout, namespace) as client:
        shown = client.admin.get_service(wanted.name, group=wanted.group)
    if common.json:
        print_json(shown_json(shown))
    else:
        for line in shown_lines(shown):
            print_line(line)
        if shown.intents:
            columns = ["address", "cluster", "wanted", "until", "by", "since", "instance"]
            print_table(columns, list(map(_row, shown.intents)))
    return ExitCode.OK


@service.command()
def put(
    context: typer.Context,
    name: ServiceArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    protection_threshold: Annotated[
        float,
        typer.Option("--protection-threshold", help="Where no larger share is healthy, all are shown so; 0: never."),
    ] = 0.0,
    metadata: MetadataOption = None,
    checker: Annotated[
        list[str] | None,
        typer.Option(
            "--checker",
            metavar="CLUSTER=KIND[:PORT][/PATH]",
            help="How persistent instances are probed: tcp, http or none. May be given many times.",
        ),
    ] = None,
    mode: ModeOption = Mode.PUT,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Put the settings of a service, all of them: what is not said gets its default."""
    common = common_options(context, server, json)
    wanted = parse_service(name, namespace, group)
    with author_client(common, timeout, namespace) as client:
        client.admin.put_service(
            wanted.name,
            group=wanted.group,
            protection_threshold=protection_threshold,
            metadata=parse_metadata(metadata or []),
            checkers=dict(map(parse_checker, checker or [])),
            mode=mode.value,
        )
    facts = {"namespace": namespace, "service": wanted.grouped_name}
    print_event("put", wanted.grouped_name, facts, as_json=common.json)
    return ExitCode.OK


@service.command()
def delete(
    context: typer.Context,
    name: ServiceArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Forget the settings of a service; refused while it has instances."""
    common = common_options(context, server, json)
    wanted = parse_service(name, namespace, group)
    with author_client(common, timeout, namespace) as client:
        client.admin.delete_service(wanted.name, group=wanted.group)
    facts = {"namespace": namespace, "service": wanted.grouped_name}
    print_event("deleted", wanted.grouped_name, facts, as_json=common.json)
    return ExitCode.OK


def shown_json(shown: ServiceShown) -> dict[str, Any]:
    settings = shown.settings
    return {
        "namespace": shown.service.namespace,
        "service": shown.service.grouped_name,
        "protection_threshold": settings.protection_threshold,
        "metadata": settings.metadata,
        "checkers": {cluster: msgspec.structs.asdict(checker) for cluster, checker in settings.checkers.items()},
        "selector": settings.selector,
        "author": shown.author,
        "written_ms": shown.written_ms,
        "index": shown.index,
        "persistent_instances": shown.persistent_instances,
        "intents": [_intent_json(intent) for intent in shown.intents],
    }


def shown_lines(shown: ServiceShown) -> Iterator[str]:
    """Everything but the intents; what is as usual is not said."""
    settings = shown.settings
    yield f"{shown.service.grouped_name} in namespace {shown.service.namespace}"
    if shown.index:
        yield f"settings put at {time_text(shown.written_ms)} by {shown.author}"
    else:
        yield "nobody has put settings"
    if settings.protection_threshold:
        yield f"protection threshold {settings.protection_threshold:g}"
    if settings.metadata:
        yield f"metadata {metadata_text(settings.metadata)}"
    for cluster, checker in sorted(settings.checkers.items()):
        yield f"cluster {cluster} is probed: {checker_text(checker)}"
    if shown.persistent_instances:
        yield f"persistent instances: {shown.persistent_instances}"


def checker_text(checker: CheckerSettings) -> str:
    """As ``--checker`` takes it, and behind it what that cannot say."""
    text = checker.kind if checker.use_instance_port else f"{checker.kind}:{checker.port}"
    parts = [text + checker.path]
    parts += [f"headers {checker.headers}"] if checker.headers else []
    parts += [f"expected status {checker.expected_status}"] if checker.expected_status != 200 else []
    return "  ".join(parts)


def _intent_json(shown: ShownIntent) -> dict[str, Any]:
    head = {"ip": shown.key.ip, "port": shown.key.port, "cluster": shown.key.cluster}
    tail = {"author": shown.author, "written_ms": shown.written_ms, "expires_ms": shown.expires_ms}
    return {**head, **intent_json(shown.intent), **tail, "listed": shown.listed}


def _row(shown: ShownIntent) -> list[str]:
    return [
        address_text(shown.key.ip, shown.key.port),
        shown.key.cluster,
        intent_text(shown.intent),
        time_text(shown.expires_ms) if shown.expires_ms else "cleared",
        shown.author,
        time_text(shown.written_ms),
        "listed" if shown.listed else "gone",
    ]
