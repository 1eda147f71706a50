"""Services, their clusters and how these are probed, as the original's three interfaces show them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rollbook.catalog import CatalogEntry
from rollbook.checkers import CheckerSettings
from rollbook.durable import ServiceSettings
from rollbook.errors import InvalidField
from rollbook.model import Instance
from runtime.gateway.http_errors import ResultCode
from runtime.gateway.kept_services import KnownService
from runtime.gateway.shapes import InstanceShape, instance_shape

SELECTORS = ("none",)
_ANY_PORT = 80  # what the original shows where nobody has said one


class SelectorShape(msgspec.Struct, frozen=True):
    type: str = SELECTORS[0]


NO_SELECTOR = SelectorShape()


class CheckerShape(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The three that there are; the last three fields are those of HTTP."""

    type: str
    path: str | None = None
    headers: str | None = None
    expected_response_code: int | None = None


class ClusterShape(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of ``clusterMap``."""

    cluster_name: str
    health_checker: CheckerShape
    healthy_check_port: int
    use_instance_port_for_check: bool
    hosts: list[InstanceShape]
    metadata: dict[str, str] = {}


class ServiceDetailShape(msgspec.Struct, frozen=True, rename="camel"):
    """As the third version shows a service; the second says ``namespace``."""

    namespace_id: str
    service_name: str
    group_name: str
    cluster_map: dict[str, ClusterShape]
    metadata: dict[str, str]
    protect_threshold: float
    ephemeral: bool
    selector: SelectorShape = NO_SELECTOR


class EntryShape(msgspec.Struct, frozen=True, rename="camel"):
    """One line of a list of services. ``trigger_flag`` is a text."""

    name: str
    group_name: str
    cluster_count: int
    ip_count: int
    healthy_instance_count: int
    trigger_flag: str


class PageShape(msgspec.Struct, frozen=True, rename="camel"):
    """Of the third version."""

    total_count: int
    page_number: int
    pages_available: int
    page_items: list[object]


CHECKERS = {
    "TCP": CheckerShape("TCP"),
    "HTTP": CheckerShape("HTTP", "", "", CheckerSettings().expected_status),
    "NONE": CheckerShape("NONE"),
}


def checker_shape(checker: CheckerSettings) -> CheckerShape:
    if checker.kind == "http":
        return CheckerShape("HTTP", checker.path, checker.headers, checker.expected_status)
    return CheckerShape(checker.kind.upper())


def checker_of(text: str, *, use_instance_port: bool, port: int) -> CheckerSettings:
    """InvalidField for what is no checker, or one that there is not here. Ranges are the node's business."""
    try:
        said = msgspec.json.decode(text, type=CheckerShape, strict=False)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidField(f"healthChecker is no checker: {text[:128]}", field="healthChecker") from None
    match said.type.upper():
        case "TCP":
            return CheckerSettings("tcp", use_instance_port, port)
        case "NONE":
            return CheckerSettings("none", use_instance_port, port)
        case "HTTP":
            status = CheckerSettings().expected_status
            expected = status if said.expected_response_code is None else said.expected_response_code
            return CheckerSettings("http", use_instance_port, port, said.path or "", said.headers or "", expected)
        case _:
            there = ", ".join(CHECKERS)
            raise InvalidField(f"healthChecker is one of {there}, not {said.type[:64]}", field="healthChecker")


def check_selector(text: str) -> None:
    """InvalidField for any but the one that selects nothing."""
    if not text:
        return
    try:
        said = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("type", "none") not in SELECTORS:
        sentence = f"selector is of the type none, the only one there is: {text[:128]}"
        raise InvalidField(sentence, code=ResultCode.SELECTOR, field="selector")


def clusters_of_service(known: KnownService) -> list[str]:
    """Those that have an instance, and those of which somebody has said how they are probed."""
    return sorted({instance.cluster for instance in known.view.instances} | known.shown.settings.checkers.keys())


def checker_of_cluster(settings: ServiceSettings, cluster: str) -> CheckerSettings:
    return settings.checkers.get(cluster, CheckerSettings(port=_ANY_PORT))


def detail_shape(known: KnownService, *, with_hosts: bool = False) -> ServiceDetailShape:
    service, settings = known.service, known.shown.settings
    hosts_in = _by_cluster(known.view.instances) if with_hosts else {}
    clusters: dict[str, ClusterShape] = {}
    for name in clusters_of_service(known):
        checker = checker_of_cluster(settings, name)
        hosts = [instance_shape(service, one) for one in hosts_in.get(name, ())]
        probing = (checker_shape(checker), checker.port, checker.use_instance_port)
        clusters[name] = ClusterShape(name, *probing, hosts)
    return ServiceDetailShape(
        service.namespace,
        service.name,
        service.group,
        clusters,
        settings.metadata,
        settings.protection_threshold,
        ephemeral=any(instance.ephemeral for instance in known.view.instances),
    )


def detail_of_v1(known: KnownService) -> object:
    service, settings = known.service, known.shown.settings
    return {
        "namespaceId": service.namespace,
        "groupName": service.group,
        "name": service.name,
        "protectThreshold": settings.protection_threshold,
        "metadata": settings.metadata,
        "selector": NO_SELECTOR,
        "clusters": [
            {"name": name, "healthChecker": checker_shape(checker_of_cluster(settings, name)), "metadata": {}}
            for name in clusters_of_service(known)
        ],
    }


def detail_of_v2(known: KnownService) -> object:
    shape: dict[str, object] = msgspec.to_builtins(detail_shape(known))
    return {"namespace": shape.pop("namespaceId"), **shape}


def detail_of_catalog(known: KnownService) -> object:
    """As the catalog of the first version shows one service."""
    service, settings = known.service, known.shown.settings
    clusters: list[object] = []
    for name in clusters_of_service(known):
        checker = checker_of_cluster(settings, name)
        clusters.append(
            {
                "serviceName": service.name,
                "name": name,
                "healthChecker": checker_shape(checker),
                "defaultPort": _ANY_PORT,
                "defaultCheckPort": checker.port,
                "useIpPort4Check": checker.use_instance_port,
                "metadata": {},
            }
        )
    shown = {
        "name": service.name,
        "groupName": service.group,
        "protectThreshold": settings.protection_threshold,
        "selector": NO_SELECTOR,
        "metadata": settings.metadata,
    }
    return {"service": shown, "clusters": clusters}


def entry_shape(entry: CatalogEntry) -> EntryShape:
    is_triggered = entry.instances > 0 and entry.healthy / entry.instances <= entry.protection_threshold
    counts = (entry.clusters, entry.instances, entry.healthy)
    return EntryShape(entry.name, entry.group, *counts, str(is_triggered).lower())


def page_shape(items: list[object], total: int, page: int, size: int) -> PageShape:
    return PageShape(total, page, -(-total // size), items)


def _by_cluster(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    found: dict[str, list[Instance]] = {}
    for instance in instances:
        found.setdefault(instance.cluster, []).append(instance)
    return found
