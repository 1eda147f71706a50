"""The switches of one gateway: what the original calls so, and which of it can be turned here.

A few act at once, at this gateway alone, and until it ends: they are for whoever looks for a fault. All others say how
it is here, and are settings of the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from rollbook.errors import InvalidField
from rollbook.model import DELETE_TIMEOUT_KEY, HEARTBEAT_INTERVAL_KEY, HEARTBEAT_TIMEOUT_KEY, PRESERVED_DEFAULTS_MS
from runtime.gateway.http_cluster import UP
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.shapes import CACHE_MS

STATUSES = frozenset({UP, "DOWN", "STARTING", "PAUSED", "WRITE_ONLY", "READ_ONLY"})
_OF_NAMING = tuple(f"/nacos/{api}/" for api in ("v1/ns", "v2/ns", "v3/client/ns", "v3/admin/ns"))
# Whoever has turned everything off can turn it on again.
_OF_OPERATORS = tuple(f"{stem}{word}/" for stem in _OF_NAMING for word in ("operator", "ops"))
_ENTRIES_MAX = 100
_REFUSED, _UNAVAILABLE = 400, 503
_STATUS_OF_REFUSAL = re.compile(r"[45][0-9][0-9]")
_TRUE, _FALSE = frozenset({"true", "on", "y", "t", "yes"}), frozenset({"false", "off", "n", "f", "no"})


class Switches(msgspec.Struct, frozen=True, rename="camel"):
    """As they stand; the names are the original's."""

    name: str = "00-00---000-NACOS_SWITCH_DOMAIN-000---00-00"
    default_push_cache_millis: int = CACHE_MS
    default_cache_millis: int = CACHE_MS
    client_beat_interval: int = PRESERVED_DEFAULTS_MS[HEARTBEAT_INTERVAL_KEY]
    client_beat_timeout: int = PRESERVED_DEFAULTS_MS[HEARTBEAT_TIMEOUT_KEY]
    ip_delete_timeout: int = PRESERVED_DEFAULTS_MS[DELETE_TIMEOUT_KEY]
    health_check_enabled: bool = True
    auto_change_health_check_enabled: bool = True
    distro_enabled: bool = True
    push_enabled: bool = True
    light_beat_enabled: bool = True
    send_beat_only: bool = False
    disable_add_ip: bool = msgspec.field(default=False, name="disableAddIP")
    enable_standalone: bool = True
    enable_authentication: bool = False
    default_instance_ephemeral: bool = True
    overridden_server_status: str | None = None
    limited_url_map: Mapping[str, int] = {}
    push_java_version: str = "0.1.0"
    push_go_version: str = "0.1.0"
    push_c_version: str = msgspec.field(default="1.0.12", name="pushCVersion")
    push_c_sharp_version: str = msgspec.field(default="0.9.0", name="pushCSharpVersion")


_AS_SHIPPED = Switches()
_SWITCH_OF_ENTRY = {  # where a change has another name than what it changes
    "pushCacheMillis": "defaultPushCacheMillis",
    "check": "healthCheckEnabled",
    "distro": "distroEnabled",
}


class Switchboard:
    """One for each gateway. ``stands`` is asked at every request that a switch is about."""

    def __init__(self) -> None:
        self.stands = _AS_SHIPPED

    def turn(self, entry: str, value: str, *, is_here_only: bool) -> None:
        """What is no switch is ignored, as in the original. InvalidField for a value that it cannot have; HttpRefused
        for what is none here, and for one that should be turned at other servers too."""
        name = _SWITCH_OF_ENTRY.get(entry, entry)
        shown = msgspec.to_builtins(self.stands)
        if name not in shown:
            return
        if name not in _TURNED_BY:
            if value.lower() != str(shown[name]).lower():
                sentence = f"{entry} is {str(shown[name]).lower()} here and is no switch: see the settings of the node"
                raise HttpRefused(_REFUSED, sentence, ResultCode.DISABLED)
            return
        turned = _TURNED_BY[name](self.stands, value)
        if turned != self.stands and not is_here_only:
            sentence = f"{entry} is turned at one server only: say debug=true, at each that is meant"
            raise HttpRefused(_REFUSED, sentence, ResultCode.DISABLED)
        self.stands = turned

    def check(self, method: str, path: str) -> None:
        """HttpRefused if a switch stands in the way of this request."""
        stands = self.stands
        if stands is _AS_SHIPPED or path.startswith(_OF_OPERATORS):
            return
        for prefix, status in stands.limited_url_map.items():
            if path.startswith(prefix):
                raise HttpRefused(status, f"{prefix} is limited by a switch of this server", ResultCode.DISABLED)
        word = stands.overridden_server_status
        passes = {None: True, UP: True, "READ_ONLY": method == "GET", "WRITE_ONLY": method != "GET"}
        if path.startswith(_OF_NAMING) and not passes.get(word, False):
            raise HttpRefused(_UNAVAILABLE, f"server is {word}now, please try again later!")


# -- those that can be turned


def _flag(value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise InvalidField(f"true or false, not {value[:64]}", field="value")
    return value.lower() in _TRUE


def _with_push(stands: Switches, value: str) -> Switches:
    return msgspec.structs.replace(stands, push_enabled=_flag(value))


def _with_light_beats(stands: Switches, value: str) -> Switches:
    return msgspec.structs.replace(stands, light_beat_enabled=_flag(value))


def _without_new_instances(stands: Switches, value: str) -> Switches:
    return msgspec.structs.replace(stands, disable_add_ip=_flag(value))


def _with_status(stands: Switches, value: str) -> Switches:
    if value and value not in STATUSES:
        raise InvalidField(f"a status is one of {', '.join(sorted(STATUSES))}, not {value[:64]}", field="value")
    return msgspec.structs.replace(stands, overridden_server_status=value or None)


def _with_limited_urls(stands: Switches, value: str) -> Switches:
    """``prefix:status,...``; nothing: no limits any more."""
    limited: dict[str, int] = {}
    for part in value.split(",") if value else ():
        prefix, _, status = part.strip().rpartition(":")
        if not prefix.startswith("/") or not _STATUS_OF_REFUSAL.fullmatch(status):
            raise InvalidField(f"a limited URL is /prefix:status, not {part[:64]}", field="value")
        limited[prefix] = int(status)
    if len(limited) > _ENTRIES_MAX:
        raise InvalidField(f"at most {_ENTRIES_MAX} URLs are limited", field="value")
    return msgspec.structs.replace(stands, limited_url_map=limited)


_TURNED_BY: dict[str, Callable[[Switches, str], Switches]] = {
    "pushEnabled": _with_push,
    "lightBeatEnabled": _with_light_beats,
    "disableAddIP": _without_new_instances,
    "overriddenServerStatus": _with_status,
    "limitedUrlMap": _with_limited_urls,
}
