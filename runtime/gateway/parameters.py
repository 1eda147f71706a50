"""What callers of the original's interfaces say about services and instances, turned into ours or refused.

The rules are those of rollbook/model.py; the sentences are the original's, for tools look for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from rollbook.errors import InvalidField
from rollbook.model import (
    CLUSTER_LENGTH_MAX,
    DEFAULT_CLUSTER,
    DEFAULT_GROUP,
    DEFAULT_NAMESPACE,
    GROUP_LENGTH_MAX,
    IP_LENGTH_MAX,
    METADATA_LENGTH_MAX,
    NAMESPACE_LENGTH_MAX,
    SERVICE_NAME_LENGTH_MAX,
    Instance,
    Service,
    check_instance,
    check_service,
    clusters_of,
)

CLUSTERS_MAX = 64  # in one filter; the node has the same limit
_HEARTBEATS_SENTENCE = "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'."
_METADATA = "metadata"


class _Parameter(NamedTuple):
    name: str
    length_max: int


_PARAMETERS = {
    "namespace": _Parameter("namespaceId", NAMESPACE_LENGTH_MAX),
    "group": _Parameter("groupName", GROUP_LENGTH_MAX),
    "service": _Parameter("serviceName", SERVICE_NAME_LENGTH_MAX),
    "cluster": _Parameter("cluster", CLUSTER_LENGTH_MAX),
    "clusters": _Parameter("cluster", CLUSTER_LENGTH_MAX),
    "ip": _Parameter("ip", IP_LENGTH_MAX),
}


def service_of(namespace: str | None, group: str | None, name: str | None) -> Service:
    """What is not said is the default; only a name must be said. InvalidField."""
    service = Service(namespace or DEFAULT_NAMESPACE, group or DEFAULT_GROUP, name or "")
    said = {"namespace": service.namespace, "group": service.group, "service": service.name}
    _in_words_of_the_original(lambda: check_service(service), said)
    return service


def listed_group(namespace: str | None, group: str | None) -> tuple[str, str]:
    """The namespace and the group whose services are asked for. InvalidField."""
    service = service_of(namespace, group, "any")
    return service.namespace, service.group


def instance_of(
    ip: str,
    port: int,
    *,
    cluster: str | None,
    weight: float,
    healthy: bool,
    enabled: bool,
    ephemeral: bool,
    metadata: Mapping[str, object],
) -> Instance:
    """Values of metadata are texts, whatever they were sent as; those that are null were not said. InvalidField."""
    texts = texts_of(metadata)
    instance = Instance(ip, port, cluster or DEFAULT_CLUSTER, weight, healthy, enabled, ephemeral, texts)
    said = {"ip": ip, "cluster": instance.cluster}
    _in_words_of_the_original(lambda: check_instance(instance, ephemeral=ephemeral), said)
    return instance


def texts_of(metadata: Mapping[str, object]) -> dict[str, str]:
    return {key: _text(value) for key, value in metadata.items() if value is not None}


def cluster_filter(text: str | None) -> str:
    """The filter as it was said, for it is the name of the list. InvalidField."""
    said = text or ""
    names = [name.strip() for name in said.split(",")]
    if len(names) > CLUSTERS_MAX:
        raise InvalidField(f"Param 'cluster' is illegal, at most {CLUSTERS_MAX} are allowed.", field="clusters")
    longest = max(names, key=len)
    _in_words_of_the_original(lambda: clusters_of(said), {"clusters": longest})
    return said


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _in_words_of_the_original(check: Callable[[], object], said: Mapping[str, str]) -> None:
    try:
        check()
    except InvalidField as error:
        raise InvalidField(_sentence(error, said), code=error.code, field=error.field) from None


def _sentence(error: InvalidField, said: Mapping[str, str]) -> str:
    parameter = _PARAMETERS.get(error.field)
    if error.field == "port":
        return "Param 'port' is illegal, the value should be between 0 and 65535."
    if error.field == _METADATA:
        return f"Param 'Metadata' is illegal, the param length should not exceed {METADATA_LENGTH_MAX}."
    if error.field.startswith(_METADATA):
        return _HEARTBEATS_SENTENCE
    if parameter is None:
        return error.message
    value = said[error.field]
    if not value:
        return f"Param '{parameter.name}' is illegal, {parameter.name} is blank"
    if len(value) > parameter.length_max:
        return f"Param '{parameter.name}' is illegal, the param length should not exceed {parameter.length_max}."
    return f"Param '{parameter.name}' is illegal, illegal characters should not appear in the param."
