"""The orders of an import: what lines say, by the ordinary calls and in the order in which it is to be written.

Namespaces come first, then by namespace the settings of services, and then instances; behind each portion of these
follow the intents about them, so that nobody is listed otherwise than wanted for longer than an order takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rollbook import NamingClient, Service
from rollbook.cli.output import wall_ms
from rollbook.cli.progress import Advance
from rollbook.cli.repeating import repeated
from rollbook.durable_bodies import INTENT_MS_MAX, PERSISTENT_PER_ORDER_MAX
from rollbook.errors import Code, InvalidField, Refused
from rollbook.exchange_lines import ContentLine, InstanceLine, IntentLine, NamespaceLine, ServiceLine
from rollbook.model import InstanceKey

ClientOf = Callable[[str], NamingClient]  # by namespace
NumberedIntent = tuple[int, IntentLine]


class Import:
    """``counts``: how many lines of each kind were carried out, ``left_out``: why others were not, by line.
    InvalidField names a line that no order can carry out."""

    def __init__(self, lines: Iterable[tuple[int, ContentLine]], patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self.counts = dict.fromkeys(("services", "namespaces", "intents", "instances"), 0)
        self.left_out: list[str] = []
        self._namespaces: list[NamespaceLine] = []
        self._services: dict[str, list[ServiceLine]] = defaultdict(list)  # these three by namespace
        self._instances: dict[str, dict[Service, list[InstanceLine]]] = defaultdict(lambda: defaultdict(list))
        self._intents: dict[str, dict[tuple[Service, InstanceKey], list[NumberedIntent]]] = defaultdict(dict)
        for number, line in lines:
            match line:
                case NamespaceLine():
                    self._namespaces.append(line)
                case ServiceLine():
                    self._services[line.namespace].append(line)
                case InstanceLine():
                    self._instances[line.namespace][line.named()].append(line)
                case IntentLine():
                    _check_end(number, line)
                    about = self._intents[line.namespace].setdefault((line.named(), line.key()), [])
                    about.append((number, line))

    def carry_out(self, client_of: ClientOf, advance: Advance) -> None:
        """Every order is absolute, so whoever is interrupted says the same again."""
        if self._namespaces:
            with client_of("public") as client:
                for line in self._namespaces:
                    put = partial(client.admin.put_namespace, line.id, line.name, description=line.description)
                    self._write(put)
                    self._done("namespaces", 1, advance)
        for namespace in sorted({*self._services, *self._instances, *self._intents}):
            with client_of(namespace) as client:
                for service_line in self._services[namespace]:
                    self._put_service(service_line, client, advance)
                for service, instances in self._instances[namespace].items():
                    self._register(service, instances, client, advance)
                for intents in self._intents[namespace].values():
                    self._set_intents(intents, client, advance)

    def _put_service(self, line: ServiceLine, client: NamingClient, advance: Advance) -> None:
        settings = line.settings()
        put = partial(
            client.admin.put_service,
            line.service,
            group=line.group,
            protection_threshold=settings.protection_threshold,
            metadata=settings.metadata,
            checkers=settings.checkers,
        )
        self._write(put)
        self._done("services", 1, advance)

    def _register(
        self, service: Service, lines: Sequence[InstanceLine], client: NamingClient, advance: Advance
    ) -> None:
        intents = self._intents[service.namespace]
        for start in range(0, len(lines), PERSISTENT_PER_ORDER_MAX):
            instances = [line.instance() for line in lines[start : start + PERSISTENT_PER_ORDER_MAX]]
            self._write(partial(client.register_instances, service.name, instances, group=service.group))
            self._done("instances", len(instances), advance)
            for instance in instances:
                self._set_intents(intents.pop((service, instance.key), []), client, advance)

    def _set_intents(self, lines: Iterable[NumberedIntent], client: NamingClient, advance: Advance) -> None:
        for number, line in lines:
            self._set_intent(number, line, client, advance)

    def _set_intent(self, number: int, line: IntentLine, client: NamingClient, advance: Advance) -> None:
        left_ms = line.expires_ms - wall_ms()
        if line.expires_ms and left_ms <= 0:
            self._leave_out(number, "it has expired", advance)
            return
        set_intent = partial(
            client.admin.set_intent,
            line.service,
            line.ip,
            line.port,
            group=line.group,
            cluster=line.cluster,
            enabled=line.enabled,
            weight=line.weight,
            metadata=line.metadata or None,
            for_seconds=left_ms / 1_000 if line.expires_ms else None,
        )
        try:
            self._write(set_intent)
        except Refused as error:
            if error.code != Code.INSTANCE_NOT_FOUND:
                raise
            self._leave_out(number, "no such instance is listed", advance)
        else:
            self._done("intents", 1, advance)

    def _write(self, write: Callable[[], None]) -> None:
        repeated(write, self._patience_seconds)

    def _done(self, kind: str, count: int, advance: Advance) -> None:
        self.counts[kind] += count
        advance(count)

    def _leave_out(self, number: int, reason: str, advance: Advance) -> None:
        self.left_out.append(f"line {number}: the intent was left out: {reason}")
        advance(1)


def _check_end(number: int, line: IntentLine) -> None:
    """Before anything is written: nobody can order what holds for longer."""
    if line.expires_ms - wall_ms() > INTENT_MS_MAX:
        sentence = f"it is more than {INTENT_MS_MAX // 86_400_000} days ahead; 0 is for ever"
        raise InvalidField(f"line {number}: expires_ms: {sentence}", field="expires_ms")
