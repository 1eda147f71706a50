"""Settings of a node: configs/defaults.toml, then a file, then the environment, then what the command line says.

Every key has a default, so a key that is not in the defaults does not exist; the error names the nearest one that does.
The environment says ROLLBOOK_<SECTION>_<KEY>; lists are separated by commas there.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from actors.base import StoreKind
from actors.beat_keeper import BeatsSettings
from actors.client_manager import ClientsSettings
from actors.connection_manager import ConnectionsSettings
from actors.distro_sync_actor import DistroSettings
from actors.health_checker import HealthSettings
from actors.home_follower import HomeSettings
from actors.index_manager import IndexSettings
from actors.member_manager import MembersSettings
from actors.peer_frames import PEER_FRAME_BYTES_MAX
from actors.persistent_store import PersistentSettings
from actors.probe_targets import networks_of
from actors.push_actor import PushSettings
from actors.verify_timer import VerifySettings
from rollbook.errors import SettingsError
from rollbook.wire import RECORD_BYTES_MAX
from runtime.edge import IoSettings
from runtime.gateway.settings import GRPC_PORT_OFFSET, GatewaySettings
from runtime.logs import LOG_LEVELS, LogSettings
from runtime.members_file import (
    BASE_PORT_DEFAULT,
    BASE_PORT_MAX,
    CLIENT_PORT_OFFSET,
    PEER_PORT_OFFSET,
    peer_addresses,
    read_members_file,
    split_address,
)
from runtime.store.etcd_settings import EtcdSettings
from runtime.store.sqlite_settings import SqliteSettings
from runtime.store_port import StoreSettings
from runtime.text_files import read_text_file, shown

DEFAULTS = Path(__file__).resolve().parent.parent / "configs" / "defaults.toml"
ENVIRONMENT_PREFIX = "ROLLBOOK_"
ETCD_PORT, PORT_MAX = 2_379, 65_535
STORE_ENGINES = ("auto", "sqlite", "etcd", "single_home")
WILDCARD_HOSTS = ("0.0.0.0", "::", "[::]", "*")
NUMBER_MAX = 2**31 - 1  # sockets take no larger one; as milliseconds 24 days
CHUNK_BYTES_MAX = PEER_FRAME_BYTES_MAX - 2 * RECORD_BYTES_MAX  # one record beyond it, and room for what is around
DIGITS_MAX = 18  # of a number in the environment; longer ones are out of every range
# What neither a path nor a line of a log can hold: control characters, line separators, halves of surrogate pairs.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Sections = Mapping[str, Mapping[str, Any]]


class NodeSettings(msgspec.Struct, frozen=True):
    """Section ``node``."""

    cluster_name: str
    host: str
    advertised_host: str
    base_port: int
    data_directory: str
    members: tuple[str, ...]
    members_file: str

    @property
    def grpc_port(self) -> int:
        return self.base_port + GRPC_PORT_OFFSET

    @property
    def is_standalone(self) -> bool:
        return not self.members and not self.members_file

    @property
    def advertised_peer_address(self) -> str:
        return f"{self.advertised_host or self.host}:{self.base_port + PEER_PORT_OFFSET}"

    @property
    def advertised_client_address(self) -> str:
        return f"{self.advertised_host or self.host}:{self.base_port + CLIENT_PORT_OFFSET}"

    @property
    def bound_peer_address(self) -> str:
        return f"{self.host}:{self.base_port + PEER_PORT_OFFSET}"

    @property
    def bound_client_address(self) -> str:
        return f"{self.host}:{self.base_port + CLIENT_PORT_OFFSET}"


class SupervisorSettings(msgspec.Struct, frozen=True):
    """Section ``supervisor``."""

    restarts_max: int
    restart_window_ms: int
    restart_delay_ms: int
    restart_delay_ms_max: int


class Settings(msgspec.Struct, frozen=True):
    """Everything that can be set, by section."""

    node: NodeSettings
    io: IoSettings
    connections: ConnectionsSettings
    clients: ClientsSettings
    beats: BeatsSettings
    index: IndexSettings
    push: PushSettings
    distro: DistroSettings
    members: MembersSettings
    persistent: PersistentSettings
    store: StoreSettings
    home: HomeSettings
    verify: VerifySettings
    health: HealthSettings
    sqlite: SqliteSettings
    etcd: EtcdSettings
    gateway: GatewaySettings
    supervisor: SupervisorSettings
    log: LogSettings


def load_settings(
    path: Path | None = None, overrides: Sections | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings in force; SettingsError is one line that names the key and where it was said."""
    values = _SettingValues(_read(DEFAULTS))
    if path is not None:
        values.merge(_read(path), shown(path))
    values.merge_environment(os.environ if environment is None else environment)
    values.merge(overrides or {}, "the command line")
    return _check(values.typed(), values)


def configured_members(node: NodeSettings) -> tuple[str, ...]:
    """Peer addresses, empty if standalone. A node that is not in its own list would be refused by every other."""
    if node.is_standalone:
        return ()
    listed = read_members_file(Path(node.members_file)) if node.members_file else peer_addresses(node.members)
    if node.advertised_peer_address not in listed:
        own = f"{node.advertised_host or node.host}:{node.base_port}"
        raise SettingsError(f"the members do not name this node, {own}: add it, or set node.advertised_host")
    return listed


def configured_home(settings: Settings) -> str:
    """The peer address of the node that owns the file of a single home; empty if standalone."""
    listed = configured_members(settings.node)
    if not listed or not settings.store.home:
        return next(iter(listed), "")
    (home,) = peer_addresses((settings.store.home,))
    if home not in listed:
        raise SettingsError(f"store.home: {settings.store.home} is none of the members", field="store.home")
    return home


def store_kind(settings: Settings) -> StoreKind:
    """Where this node's durable data is. In a cluster without an etcd one node keeps it for all."""
    if settings.store.endpoints or settings.store.engine == "etcd":
        return "etcd"
    if settings.node.is_standalone:
        return "alone"
    return "home" if settings.node.advertised_peer_address == configured_home(settings) else "away"


class _SettingValues:
    """Plain values by section and key, and where each was said last."""

    def __init__(self, defaults: dict[str, dict[str, Any]]) -> None:
        self._values = defaults
        self._sources: dict[str, str] = {}

    def merge(self, sections: Sections, source: str) -> None:
        for section, keys in sections.items():
            self._require_section(section, source)
            if not isinstance(keys, Mapping):
                raise SettingsError(f"{source}: [{shown(section)}] is a section, not a value", field=section)
            for key, value in keys.items():
                self._require_key(section, key, source)
                self._values[section][key] = value
                self._sources[f"{section}.{key}"] = source

    def merge_environment(self, environment: Mapping[str, str]) -> None:
        """Variables of known sections; others that begin with the prefix belong to scripts."""
        for name in sorted(environment):
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
            if not name.startswith(ENVIRONMENT_PREFIX) or section not in self._values or not key:
                continue
            self._require_key(section, key, name)
            if problem := _text_problem(environment[name]):
                raise SettingsError(f"{shown(name)}: {section}.{key}: {problem}", field=f"{section}.{key}")
            self.merge({section: {key: _from_text(environment[name], self._values[section][key])}}, name)

    def typed(self) -> Settings:
        """As structs; the error names the key that does not fit."""
        try:
            return msgspec.convert(self._values, Settings)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at ")
            key = place.strip("`").removeprefix("$.")
            raise self.error(key, f"{reason[0].lower()}{reason[1:]}") from None

    def error(self, key: str, reason: str) -> SettingsError:
        base = key.partition("[")[0]
        return SettingsError(f"{self._sources.get(base, DEFAULTS.name)}: {key}: {reason}", field=base)

    def _require_section(self, section: str, source: str) -> None:
        if section not in self._values:
            advice = _nearest(section, self._values)
            raise SettingsError(f"{source}: there is no section [{shown(section)}]{advice}", field=section)

    def _require_key(self, section: str, key: str, source: str) -> None:
        if key not in self._values[section]:
            advice = _nearest(key, self._values[section])
            place = f"{section}.{key}"
            raise SettingsError(f"{shown(source)}: there is no setting {shown(place)}{advice}", field=place)


def _read(path: Path) -> dict[str, Any]:
    text = read_text_file(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside its own error: numbers and nesting that have no end
        raise SettingsError(f"{shown(path)} is not valid TOML: {shown(error)}") from None


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    """Advice for a name that does not exist."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"


def _from_text(text: str, default: Any) -> Any:
    """A value of the default's kind; what cannot be one stays text, and the type check names it."""
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, int):
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX else text
    if isinstance(default, list):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [_from_text(part, default[0]) if default else part for part in parts]
    return text


def _check(settings: Settings, values: _SettingValues) -> Settings:
    """Ranges, which types do not say."""
    for section, struct in msgspec.structs.asdict(settings).items():
        for key, value in msgspec.structs.asdict(struct).items():
            least = 1 if key.endswith(("_max", "interval_ms")) else 0
            for item in value if isinstance(value, tuple) else (value,):
                if problem := _problem(item, least):
                    raise values.error(f"{section}.{key}", problem)
    if settings.clients.chunk_bytes_max > CHUNK_BYTES_MAX:
        raise values.error("clients.chunk_bytes_max", f"must be at most {CHUNK_BYTES_MAX}: peers refuse longer frames")
    _check_node(settings.node, values)
    _check_gateway(settings.gateway, values)
    _check_health(settings.health, values)
    _check_store(settings.store, settings.node, values)
    if settings.log.level not in LOG_LEVELS:
        raise values.error("log.level", f"must be one of {', '.join(LOG_LEVELS)}, not {shown(settings.log.level)!r}")
    return settings


def _check_gateway(gateway: GatewaySettings, values: _SettingValues) -> None:
    """What does not go together. What stands in the files is found out at the start."""
    if gateway.processes < 1:
        raise values.error("gateway.processes", "must be at least 1; to have none, set gateway.enabled to false")
    if bool(gateway.tls_certificate) != bool(gateway.tls_key):
        lacking, said = ("key", "certificate") if gateway.tls_certificate else ("certificate", "key")
        raise values.error(f"gateway.tls_{said}", f"needs gateway.tls_{lacking} too")
    if gateway.tls_client_ca and not gateway.tls_certificate:
        raise values.error("gateway.tls_client_ca", "needs gateway.tls_certificate and gateway.tls_key too")


def _check_store(store: StoreSettings, node: NodeSettings, values: _SettingValues) -> None:
    """What does not go together. Whether etcd is installed, and who the members are, is found out at the start."""
    if store.engine not in STORE_ENGINES:
        advice = _nearest(store.engine, dict.fromkeys(STORE_ENGINES))
        raise values.error("store.engine", f"there is no engine {shown(store.engine)!r}{advice}")
    if store.engine == "sqlite" and not node.is_standalone:
        raise values.error("store.engine", "sqlite keeps the rows of one node; a cluster takes etcd or single_home")
    if store.engine == "single_home" and node.is_standalone:
        raise values.error("store.engine", "single_home needs a cluster; a standalone node takes sqlite")
    if store.endpoints and store.engine not in ("auto", "etcd"):
        raise values.error("store.endpoints", f"only etcd has endpoints, and store.engine is {store.engine}")
    if store.home and store.engine not in ("auto", "single_home"):
        raise values.error("store.home", f"only a single home has one, and store.engine is {store.engine}")
    if store.engine == "etcd" and not store.endpoints and node.is_standalone:
        raise values.error("store.engine", "etcd needs endpoints, or a cluster of three nodes that run it beside them")
    if len(set(store.endpoints)) < len(store.endpoints):
        raise values.error("store.endpoints", "each may be said once")
    for address in store.endpoints:
        _check_address("store.endpoints", address, ETCD_PORT, PORT_MAX, values)
    if store.home:
        _check_address("store.home", store.home, BASE_PORT_DEFAULT, BASE_PORT_MAX, values)


def _check_address(key: str, text: str, port_default: int, port_max: int, values: _SettingValues) -> None:
    try:
        split_address(text, port_default, port_max)
    except SettingsError as error:
        raise values.error(key, error.message) from None


def _problem(item: object, least: int) -> str:
    """What is wrong with one value of the right type; empty if nothing."""
    if isinstance(item, str):
        return _text_problem(item)
    if type(item) is int and item < least:
        return f"must be at least {least}, not {shown(item)}"
    if type(item) is int and item > NUMBER_MAX:
        return f"must be at most {NUMBER_MAX}"
    return ""


def _text_problem(text: str) -> str:
    return f"must be text of one line, not {shown(text)}" if _UNWRITABLE.search(text) else ""


def _check_node(node: NodeSettings, values: _SettingValues) -> None:
    if not 0 < node.base_port <= BASE_PORT_MAX:
        raise values.error("node.base_port", f"must lie between 1 and {BASE_PORT_MAX}, not {node.base_port}")
    for key in ("cluster_name", "host", "data_directory"):
        if not getattr(node, key).strip():
            raise values.error(f"node.{key}", "must not be empty")
    if node.members and node.members_file:
        raise values.error("node.members_file", "takes the place of members; say only one of them")
    if not node.is_standalone and (node.advertised_host or node.host) in WILDCARD_HOSTS:
        raise values.error("node.advertised_host", f"must be said: nobody can dial {node.host}")
    for member in node.members:
        _check_address("node.members", member, BASE_PORT_DEFAULT, BASE_PORT_MAX, values)


def _check_health(health: HealthSettings, values: _SettingValues) -> None:
    for kind in ("tcp", "http"):
        shortest_ms, longest_ms = getattr(health, f"{kind}_interval_ms"), getattr(health, f"{kind}_interval_ms_max")
        if shortest_ms > longest_ms:
            raise values.error(f"health.{kind}_interval_ms_max", f"must be at least {shortest_ms}, the shortest pause")
        percent = getattr(health, f"{kind}_factor_percent")
        if percent > 100:
            raise values.error(f"health.{kind}_factor_percent", f"must be at most 100, not {percent}")
    for text in health.networks:
        try:
            networks_of((text,))
        except ValueError as error:
            raise values.error("health.networks", f"{shown(text)!r} is no network: {shown(error)}") from None
