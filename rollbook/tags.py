"""The numbers of the messages between a client and a node (rollbook/wire.py has their bodies)."""

from __future__ import annotations

from enum import IntEnum


class Tag(IntEnum):
    """Append only; never renumber. Below 64: client to node. From 64: node to client."""

    OPEN_SESSION = 1
    CLOSE_SESSION = 2
    PUBLISH = 3
    WITHDRAW = 4
    QUERY = 5
    SUBSCRIBE = 6
    UNSUBSCRIBE = 7
    LIST_SERVICES = 8
    PUSH_ACK = 9
    GET_STATUS = 10
    PING = 11
    PUBLISH_PERSISTENT = 12
    WITHDRAW_PERSISTENT = 13
    PUT_SERVICE = 14
    DELETE_SERVICE = 15
    GET_SERVICE = 16
    PUT_NAMESPACE = 17
    DELETE_NAMESPACE = 18
    LIST_NAMESPACES = 19
    SET_INTENT = 20
    CLEAR_INTENT = 21
    READ_DURABLE = 22
    RESTORE_ROWS = 23
    SET_HEALTH = 24
    HTTP_PUBLISH = 30
    HTTP_WITHDRAW = 31
    HTTP_PATCH = 32
    BEATS = 33
    FIND_SERVICES = 40
    LIST_CATALOG = 45
    COUNT_SERVICES = 46
    LIST_SUBSCRIBERS = 47
    LIST_CLIENTS = 50
    GET_CLIENT = 51
    LIST_PUBLICATIONS = 52
    LIST_SUBSCRIPTIONS = 53
    LIST_PUBLISHERS = 54
    SET_LOG_LEVEL = 55

    SESSION_OPENED = 64
    SESSION_ENDED = 65
    DONE = 66
    VIEW = 67
    SERVICES = 68
    PUSH = 69
    FAILED = 70
    MOVE_ADVISED = 71
    STATUS = 72
    PONG = 73
    PROBE = 74
    SERVERS = 75
    SERVICE_SHOWN = 76
    NAMESPACES = 77
    DURABLE_PAGE = 78
    BEATEN = 85
    SERVICES_FOUND = 90
    CATALOG = 95
    SERVICES_COUNTED = 96
    SUBSCRIBERS = 97
    CLIENTS_LISTED = 100
    CLIENT_SHOWN = 101
    PUBLICATIONS_LISTED = 102
    SUBSCRIPTIONS_LISTED = 103
    PUBLISHERS_LISTED = 104
