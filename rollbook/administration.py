"""Administration: what people and deployments decide about services, instances and namespaces, and the registry keeps.

Reached by ``NamingClient.admin``. What it writes belongs to the registry and not to the client, like a persistent
instance: the call returns once it is on disk and in force at the node that was asked, and it survives every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rollbook.arguments import (
    checked_checkers,
    checked_duration_ms,
    checked_fields,
    checked_metadata,
    checked_mode,
    checked_text,
    checked_types,
)
from rollbook.checkers import CheckerSettings
from rollbook.durable import (
    Intent,
    IntentField,
    Namespace,
    ServiceSettings,
    check_intent,
    check_namespace,
    check_settings,
)
from rollbook.durable_bodies import (
    PERSISTENT_PER_ORDER_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    Namespaces,
    PutMode,
    PutNamespace,
    PutService,
    ServiceShown,
    SetIntent,
)
from rollbook.errors import Code, InvalidField, Refused
from rollbook.kept_rows import DurablePage, DurableRows, ReadDurable, RestoreRows, check_rows
from rollbook.model import (
    DEFAULT_CLUSTER,
    DEFAULT_GROUP,
    Instance,
    InstanceKey,
    Service,
    check_instance,
    check_service,
)
from rollbook.orders import CallBody


class Administration:
    """Every call ends as those of NamingClient do. ``mode`` of what is put: whatever is there (``"put"``), only if
    there is nothing (``"create"``) or only if there is something (``"update"``); Refused otherwise. After an
    OutcomeUnknown look before you say a ``"create"`` or a deletion again: the first attempt may be what refuses it.
    """

    def __init__(self, call: Callable[[CallBody], Any], namespace: str) -> None:
        self._call = call
        self._namespace = namespace

    # Services

    def put_service(
        self,
        service: str,
        *,
        group: str = DEFAULT_GROUP,
        protection_threshold: float = 0.0,
        metadata: Mapping[str, str] | None = None,
        checkers: Mapping[str, CheckerSettings] | None = None,
        mode: PutMode = "put",
    ) -> None:
        """Keep these settings of the service, whether it has instances or not. What is not said gets its default.

        Where no larger share of its enabled instances than ``protection_threshold`` is healthy, all are listed as
        healthy, and the list says ``protected``. ``checkers`` say by cluster how persistent instances are probed.
        """
        settings = ServiceSettings(protection_threshold, checked_metadata(metadata), checked_checkers(checkers))
        checked = check_settings(checked_types(settings, "settings"))
        self._call(PutService(self._service(service, group), checked, checked_mode(mode)))

    def get_service(self, service: str, *, group: str = DEFAULT_GROUP) -> ServiceShown:
        """Its settings, who put them and when, how many persistent instances it has, and what operators want of any: of
        ``intents`` each is one decision, with its author, its end, and whether its instance is listed."""
        shown: ServiceShown = self._call(GetService(self._service(service, group)))
        return shown

    def delete_service(self, service: str, *, group: str = DEFAULT_GROUP) -> None:
        """Forget its settings; Refused while it has instances, or if nobody has put any."""
        self._call(DeleteService(self._service(service, group)))

    # Instances

    def set_intent(
        self,
        service: str,
        ip: str,
        port: int,
        *,
        group: str = DEFAULT_GROUP,
        cluster: str = DEFAULT_CLUSTER,
        enabled: bool | None = None,
        weight: float | None = None,
        metadata: Mapping[str, str] | None = None,
        for_seconds: float | None = None,
    ) -> None:
        """List the instance so, whatever its application publishes. ``metadata`` goes over its own, key by key.

        What is not said stays as it was decided before. Each of the three takes the place of an earlier decision about
        the same, has its own author, and holds until it is cleared, until ``for_seconds`` have passed, or until another
        process publishes the instance (a persistent one: until it is withdrawn).
        """
        if metadata is not None and not checked_metadata(metadata):
            raise InvalidField("metadata is empty; clear_intent ends what was decided of it", field="metadata")
        intent = check_intent(checked_types(Intent(enabled, weight, checked_metadata(metadata)), "intent"))
        for_ms = 0 if for_seconds is None else checked_duration_ms("for_seconds", for_seconds)
        self._call(SetIntent(self._service(service, group), _key(ip, port, cluster), intent, for_ms))

    def clear_intent(
        self,
        service: str,
        ip: str,
        port: int,
        *,
        group: str = DEFAULT_GROUP,
        cluster: str = DEFAULT_CLUSTER,
        fields: Iterable[IntentField] | None = None,
    ) -> None:
        """List the instance as it is published again, in these fields (None: in all); where nothing was decided, that
        is done already."""
        cleared = () if fields is None else checked_fields(fields)
        self._call(ClearIntent(self._service(service, group), _key(ip, port, cluster), cleared))

    # Namespaces

    def put_namespace(
        self, namespace: str, name: str | None = None, *, description: str = "", mode: PutMode = "put"
    ) -> None:
        """Give this id a name (its own, if none is said) and a description, whole."""
        named = Namespace(checked_text("namespace", namespace), namespace if name is None else name, description)
        self._call(PutNamespace(check_namespace(checked_types(named, "namespace")), checked_mode(mode)))

    def delete_namespace(self, namespace: str) -> None:
        """Refused while anything is kept or published in it, or if nobody has put it."""
        check_service(Service(checked_text("namespace", namespace), DEFAULT_GROUP, "any"))
        self._call(DeleteNamespace(namespace))

    def list_namespaces(self) -> tuple[Namespace, ...]:
        """All that have been put, and ``public``; sorted by id."""
        answer: Namespaces = self._call(ListNamespaces())
        return answer.namespaces

    # Everything, of all namespaces

    def read_durable(self, *, stale: bool = False) -> Iterator[DurablePage]:
        """All durable data, page by page and of one state: what the store held at the ``index`` that all pages name.

        Each page is asked for when the iterator comes to it. Refused (READING_OVER) if that takes too long, or if the
        client has had to go on at a node that does not hold this state: begin anew then. With ``stale`` a node that
        cannot follow the store gives what it has, and says so in ``stale_since_ms``.
        """
        page: DurablePage = self._call(ReadDurable(stale=stale))
        state = (page.store, page.index, page.total, page.unreadable)
        yield page
        while not page.is_complete:
            page = self._call(ReadDurable(page.index, page.position + len(page.rows), stale))
            if (page.store, page.index, page.total, page.unreadable) != state:
                raise Refused("this node holds another state than the one before", code=Code.READING_OVER)
            yield page

    def restore_rows(self, rows: DurableRows) -> None:
        """Keep these rows, 60 at most, exactly as they are, with author, times and incarnation: all of them or none.

        Those that are kept already are left alone, so the same may be said again; Refused if another row stands in the
        place of any.
        """
        checked = check_rows(checked_types(rows, "rows"))
        if not 0 < len(checked) <= PERSISTENT_PER_ORDER_MAX:
            limit = PERSISTENT_PER_ORDER_MAX
            raise InvalidField(f"one order restores 1 to {limit} rows, not {len(checked)}", field="rows")
        self._call(RestoreRows(checked))

    def _service(self, name: str, group: str) -> Service:
        return check_service(Service(self._namespace, checked_text("group", group), checked_text("service", name)))


def _key(ip: str, port: int, cluster: str) -> InstanceKey:
    return check_instance(checked_types(Instance(ip, port, cluster))).key
