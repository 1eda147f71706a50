"""Parameters of the HTTP API by their names: one name means the same wherever it stands."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from rollbook.model import (
    CLUSTER_LENGTH_MAX,
    GROUP_LENGTH_MAX,
    IP_LENGTH_MAX,
    NAMESPACE_LENGTH_MAX,
    SERVICE_NAME_LENGTH_MAX,
    WEIGHT_MAX,
)

SCOPE = "namespaceId groupName"
CLUSTER = "clusterName cluster"
INSTANCE = f"{CLUSTER} weight healthy enabled enable ephemeral metadata"

# What rollbook/model.py takes, as JSON Schema says it; blank is not said. What a name or an address must not hold is
# said in words only, for schemathesis is three times as slow with a pattern of it.
Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=0, le=10**18 - 1)]
Said = Annotated[str, Meta(min_length=1)]
Namespace = Annotated[str, Meta(max_length=NAMESPACE_LENGTH_MAX, pattern=r"^[A-Za-z0-9_\-]*$")]
Cluster = Annotated[str, Meta(max_length=CLUSTER_LENGTH_MAX, pattern=r"^[A-Za-z0-9_\-]*$")]
Clusters = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_\-,]*$")]


class Parameter(NamedTuple):
    """``example`` is as it stands on the wire."""

    kind: object
    about: str
    example: str


PARAMETERS = {
    "namespaceId": Parameter(Namespace, "Namespace; `public` if it is not said.", "public"),
    "groupName": Parameter(
        Annotated[str, Meta(max_length=GROUP_LENGTH_MAX, pattern=r"^[A-Za-z0-9_\-:.]*$")],
        "Group; `DEFAULT_GROUP` if it is not said. One within `serviceName` wins.",
        "DEFAULT_GROUP",
    ),
    "serviceName": Parameter(
        Annotated[str, Meta(min_length=1, max_length=SERVICE_NAME_LENGTH_MAX)],
        "`service`, or `group@@service`; without white space, control and Chinese characters.",
        "orders",
    ),
    "ip": Parameter(
        Annotated[str, Meta(min_length=1, max_length=IP_LENGTH_MAX)],
        "Address or host name; without white space, control and Chinese characters.",
        "10.0.0.1",
    ),
    "port": Parameter(Port, "Of the instance; of version 2's list: where its caller takes pushes over UDP.", "8080"),
    "clusterName": Parameter(Cluster, "Cluster; where lists are asked for: several, with commas between.", "DEFAULT"),
    "cluster": Parameter(Cluster, "An older name of `clusterName`.", "DEFAULT"),
    "clusters": Parameter(Clusters, "Clusters with commas between; all if none is said.", "DEFAULT"),
    "weight": Parameter(Annotated[float, Meta(ge=0, le=WEIGHT_MAX)], "Share of calls, relative to others'.", "1.0"),
    "healthy": Parameter(bool, "Whether it can be called.", "true"),
    "enabled": Parameter(bool, "Whether it is to be called.", "true"),
    "enable": Parameter(bool, "An older name of `enabled`.", "true"),
    "ephemeral": Parameter(bool, "Kept by beats or a connection (`true`), or by the registry (`false`).", "true"),
    "metadata": Parameter(str, "A JSON object of texts, or `key=value` with commas between.", '{"zone":"a"}'),
    "heartBeat": Parameter(bool, "A sign of life of an instance that is registered, and no registration.", "false"),
    "beat": Parameter(
        str,
        "What a client says of itself: a JSON object with ip, port, serviceName, cluster, weight, metadata. What is "
        "not in it is in the parameters.",
        '{"ip":"10.0.0.1","port":8080,"serviceName":"orders"}',
    ),
    "healthyOnly": Parameter(bool, "Leave out who is not healthy.", "false"),
    "clientIP": Parameter(str, "Where pushes over UDP go to; the caller's own address if it is not said.", "10.0.0.2"),
    "udpPort": Parameter(Port, "Where the caller takes pushes over UDP; 0 for nowhere.", "0"),
    "key": Parameter(
        Annotated[str, Meta(min_length=1)],
        "`namespace##group@@service`.",
        "public##DEFAULT_GROUP@@orders",
    ),
    "consistencyType": Parameter(Literal["ephemeral", "persist"], "Of which kind only.", "ephemeral"),
    "instances": Parameter(
        str,
        "Which instances: a JSON list of objects with ip, port, clusterName, ephemeral; all if it is not said.",
        '[{"ip":"10.0.0.1","port":8080,"ephemeral":true}]',
    ),
    "protectThreshold": Parameter(
        Annotated[float, Meta(ge=0, le=1)], "Where no more than this share is healthy, all are shown to be.", "0.0"
    ),
    "selector": Parameter(str, "A JSON object; only the type `none` is there.", '{"type":"none"}'),
    "pageNo": Parameter(Count, "Which page, from 1 on.", "1"),
    "pageSize": Parameter(Count, "How long a page is at most.", "10"),
    "hasIpCount": Parameter(bool, "Leave out services without instances.", "false"),
    "ignoreEmptyService": Parameter(bool, "Leave out services without instances.", "false"),
    "withInstances": Parameter(bool, "With all their instances.", "false"),
    "groupNameParam": Parameter(str, "What the group has in it.", "DEFAULT"),
    "serviceNameParam": Parameter(str, "What the name has in it.", "orders"),
    "enabledOnly": Parameter(bool, "Leave out who is not enabled.", "false"),
    "aggregation": Parameter(bool, "Of the whole cluster, or of the server that is asked.", "true"),
    "valid": Parameter(bool, "An older name of `healthy`.", "true"),
    "checkPort": Parameter(Port, "Which port is probed, if not the instance's.", "80"),
    "useInstancePort4Check": Parameter(bool, "Whether the instance's own port is probed.", "true"),
    "healthChecker": Parameter(
        Said,
        "A JSON object with type (`TCP`, `HTTP` or `NONE`) and, of HTTP, path, headers, expectedResponseCode.",
        '{"type":"TCP"}',
    ),
    "clientId": Parameter(Said, "Id of a client.", "10.0.0.1:8080#true"),
    "namespace": Parameter(Namespace, "Id of a namespace.", "shop"),
    "customNamespaceId": Parameter(Namespace, "Id of a namespace; one is made up if none is said.", "shop"),
    "namespaceName": Parameter(Said, "What people call it.", "Shop"),
    "namespaceShowName": Parameter(Said, "What people call it.", "Shop"),
    "namespaceDesc": Parameter(str, "What it is for.", "Everything that sells"),
    "checkNamespaceIdExist": Parameter(bool, "Just say whether there is one of this id.", "false"),
    "show": Parameter(str, "`all`: one namespace, with everything about it.", "all"),
    "address": Parameter(str, "How the address of a member begins.", "127"),
    "state": Parameter(
        Literal["STARTING", "UP", "SUSPICIOUS", "DOWN", "ISOLATION"], "Only members that are like this.", "UP"
    ),
    "keyword": Parameter(str, "What the address of a member has in it.", "127"),
    "count": Parameter(Count, "How many connections may stay.", "100"),
    "redirectAddress": Parameter(str, "Where to: `ip:port` of a server.", "127.0.0.1:8848"),
    "connectionId": Parameter(Said, "Id of a connection, as `current` shows it.", "1_127.0.0.1_1"),
    "loaderFactor": Parameter(float, "Makes no difference: nodes balance by a rule of theirs.", "0.1"),
    "debug": Parameter(bool, "At this server only.", "false"),
    "onlyStatus": Parameter(bool, "No counts.", "true"),
    "entry": Parameter(Said, "Name of a switch.", "pushEnabled"),
    "value": Parameter(Said, "What it is to be.", "true"),
    "logName": Parameter(Said, "Which log.", "naming-main"),
    "logLevel": Parameter(Said, "Which level.", "INFO"),
    "reset": Parameter(bool, "Count from nothing again.", "false"),
    "detail": Parameter(bool, "Also what there is of each subscriber.", "false"),
    "username": Parameter(str, "Shown in the answer; nobody is asked who he is.", "nacos"),
}

HEADERS = {
    "long-pulling-timeout": Parameter(
        Annotated[int, Meta(ge=0, le=60_000)], "How long the caller waits, in milliseconds.", "30000"
    ),
}
