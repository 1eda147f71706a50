"""``rollbook register`` and ``rollbook deregister``.

An ephemeral instance is published and held until Ctrl-C or SIGTERM, then taken back. A persistent one is written, and
stays until somebody deregisters it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import Annotated

import typer

from rollbook import NamingClient
from rollbook.cli.clients import command_client
from rollbook.cli.options import (
    AddressArgument,
    ClusterOption,
    GroupOption,
    JsonOption,
    MetadataOption,
    NamespaceOption,
    ServerOption,
    ServiceArgument,
    TimeoutOption,
    common_options,
    parse_ip_and_port,
    parse_metadata,
    parse_service,
)
from rollbook.cli.output import (
    ExitCode,
    instance_json,
    instance_text,
    print_event,
    say_note,
    show_client_log,
)
from rollbook.errors import InvalidField
from rollbook.model import DEFAULT_CLUSTER, DEFAULT_GROUP, DEFAULT_NAMESPACE, Instance, Service


class WaitFor(StrEnum):
    """Whose confirmation a registration waits for."""

    NODE = "node"
    CLUSTER = "cluster"
    SUBSCRIBERS = "subscribers"


def register(
    context: typer.Context,
    service: ServiceArgument,
    address: AddressArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    weight: Annotated[float, typer.Option("--weight", help="Its share of calls, 0 to 10000.")] = 1.0,
    metadata: MetadataOption = None,
    wait: Annotated[
        WaitFor, typer.Option("--wait", help="Until this node has it, every living one, or all their subscribers.")
    ] = WaitFor.NODE,
    drain: Annotated[
        bool, typer.Option("--drain", help="At the end wait until every subscriber knows, or say who does not.")
    ] = False,
    persistent: Annotated[
        bool, typer.Option("--persistent", help="Write it down and return: it stays until it is deregistered.")
    ] = False,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Register an instance and hold it until Ctrl-C, then deregister it.

    It stays registered through failures of nodes, and is gone within a second if this process is killed. With --drain
    it ends when every subscriber on every node has acknowledged a list without it; exit code 1 names those who have
    not within the time-out. With --persistent it is written to disk instead, and belongs to nobody: end it with
    rollbook deregister.
    """
    if persistent and drain:
        raise InvalidField("--drain is for an instance that is held, not for a persistent one", field="drain")
    common = common_options(context, server, json)
    wanted = parse_service(service, namespace, group)
    ip, port = parse_ip_and_port(address)
    instance = Instance(ip, port, cluster, weight, ephemeral=not persistent, metadata=parse_metadata(metadata or []))
    say = _Teller(wanted, instance, common.json)
    if not persistent:
        show_client_log("INFO")  # which node holds the session, and when it moves
    with command_client(common, timeout, namespace) as client:
        client.register_instances(wanted.name, [instance], group=wanted.group, wait=wait.value)
        if persistent:
            say.fact("registered")
        else:
            _hold(client, wanted, instance, say, drain=drain)
    return ExitCode.OK


def deregister(
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
    """Remove a persistent instance, whoever registered it; one that is not there is removed already.

    An ephemeral one belongs to its client and ends with it: exit code 1 if that is what is listed.
    """
    common = common_options(context, server, json)
    wanted = parse_service(service, namespace, group)
    instance = Instance(*parse_ip_and_port(address), cluster, ephemeral=False)
    with command_client(common, timeout, namespace) as client:
        client.deregister_instance(
            wanted.name, instance.ip, instance.port, group=wanted.group, cluster=cluster, ephemeral=False
        )
        listed = client.get_all_instances(wanted.name, group=wanted.group, subscribe=False)
    if any(other.key == instance.key and other.ephemeral for other in listed):
        say_note(f"{address} is listed still: it is ephemeral, and its client holds it")
        return ExitCode.REFUSED
    _Teller(wanted, instance, common.json).fact("deregistered")
    return ExitCode.OK


def _hold(client: NamingClient, service: Service, instance: Instance, say: _Teller, *, drain: bool) -> None:
    """Until somebody asks this process to end."""
    with _asked_to_end() as end:
        say.fact("registered")
        end.wait()
        client.deregister_instance(
            service.name,
            instance.ip,
            instance.port,
            group=service.group,
            cluster=instance.cluster,
            wait="subscribers" if drain else "node",
        )
        say.fact("drained" if drain else "deregistered")


class _Teller:
    """Says what happens to one instance, for people or as JSON lines."""

    def __init__(self, service: Service, instance: Instance, as_json: bool) -> None:
        self._service = service
        self._instance = instance
        self._as_json = as_json

    def fact(self, event: str) -> None:
        name, instance = self._service.grouped_name, self._instance
        facts = {"service": name, "instance": instance_json(instance)}
        print_event(event, f"{name}  {instance_text(instance)}", facts, as_json=self._as_json)


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C and by SIGTERM; a second one is obeyed at once."""
    end = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        end.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
