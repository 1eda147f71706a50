"""Where fuzzing starts: the golden frames, the shipped settings, a members file; and the words of the text formats."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from actors.durable_rows import (
    fence_row_key,
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    namespace_row_key,
    namespace_row_value,
    service_row_key,
    service_row_value,
)
from actors.durable_values import KeptIntent
from actors.messages.peers import (
    PeerTag,
    SettledProposal,
    StoreCut,
    StoreFollow,
    StoreNews,
    StoreNewsAck,
    StoreOffered,
    StorePropose,
    StoreSettled,
)
from actors.messages.store import NOTHING, Expectation, Operation, Proposal, Row, StoredChange
from actors.peer_frames import encode_peer
from rollbook.checkers import CheckerSettings
from rollbook.codec import pack
from rollbook.durable import Intent, Namespace, ServiceSettings, decisions_of
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteService,
    GetService,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.kept_rows import DurableRows, InstanceRow, IntentRow, ReadDurable, RestoreRows
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import Query, Subscribe, Tag, encode
from runtime.settings import DEFAULTS
from tests.fuzz.mutations import TEXTS
from tests.fuzz.whole_node import EPOCH, MEETING_MS, SESSION, STORE, STORE_INDEX, STREAM, STREAM_NUMBER

_WIRE = Path(__file__).resolve().parent.parent / "wire"
_SERVICE = Service("public", "DEFAULT_GROUP", "orders")
_INTENT = Intent(False, 0.5, {"zone": "b"})
_SETTINGS = ServiceSettings(0.5, {"team": "a"}, {"EAST": CheckerSettings("http", path="/health", headers="a:1")})
_PROD = Namespace("prod", "production", "of the shop")
_MEMBERS = b"# three nodes\n10.0.0.1:8848\n10.0.0.2\n[fe80::1%eth0]:8868  # the third\nnode-4.example.org:9000\n"
_VALUES = (
    *(
        "true",
        "false",
        "0",
        "1",
        "-1",
        "1e3",
        "1.5",
        "inf",
        "nan",
        "'x'",
        '"x"',
        '"""',
        "[]",
        "[1, 2]",
        "{}",
        "{a = 1}",
    ),
    *(
        "1979-05-27",
        "1979-05-27T07:32:00Z",
        "25:61:00",
        "0x_1",
        "0xff",
        "0b2",
        "1_000",
        "[" * 80,
        '"\\u0000"',
        '"\\ud800"',
    ),
    *("127.0.0.1:8848,127.0.0.1:8858", "65535", "65536", "99999", "#", "=", ".", "[[", "]]", "ROLLBOOK_", "\0"),
)


def seeds_of(target: str) -> list[bytes]:
    """Valid inputs of this target."""
    golden = {
        name: bytes.fromhex(text) for name, text in json.loads((_WIRE / "golden_frames.json").read_text()).items()
    }
    match target:
        case "client_frames":
            return [frame for name, frame in golden.items() if _is_request(name)]
        case "answer_frames":
            return [frame for name, frame in golden.items() if name in Tag.__members__ and not _is_request(name)]
        case "peer_frames":
            return [frame for name, frame in golden.items() if name.startswith("PEER_")] + [_delta()]
        case "records":
            return _records()
        case "rows":
            return _rows()
        case "node":
            return [*_node_lives(golden), *_follower_lives()]
        case "home_node":
            return [*_node_lives(golden), *_home_lives()]
        case "settings":
            return _settings_files()
        case "members_file":
            return [_MEMBERS, b"10.0.0.1:8848\n", b"a:1\r\nb:2\r\n"]
    raise LookupError(target)


def words_of(target: str) -> list[str]:
    """What mutations put into a text."""
    if target == "members_file":
        return [*TEXTS, "10.0.0.1:8848", "[::1]:1", ":", "8848", "64535", "64536", "a" * 254, "#", "\v", "\r\n"]
    defaults = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    keys = [key for values in defaults.values() for key in values]
    variables = [f"ROLLBOOK_{section}_{key}".upper() for section, values in defaults.items() for key in values]
    return [*TEXTS, *_VALUES, *keys, *variables, *(f"[{section}]" for section in defaults)]


def _records() -> list[bytes]:
    instances = tuple(
        Instance("10.0.0.1", 8_080 + n, weight=n + 0.5, healthy=n % 2 == 0, metadata={"zone": "a"} if n else {})
        for n in range(3)
    )
    stored = json.loads((_WIRE / "golden_record.json").read_text())["body"]
    tombstone = pack(("c1", _SERVICE, 5, 4, 78, 15_000, ()))
    return [bytes.fromhex(stored), pack(("c2", _SERVICE, 6, 9, 99, 45_000, instances)), tombstone]


def _delta() -> bytes:
    """One that carries records."""
    return pack((1, 7, ("n1", 7, 1, 9, True, 2, 1, 0, True, 9, _records())))


def _delta_of_peer() -> bytes:
    """The first records of the peer that sends it."""
    return pack((1, 7, ("b", EPOCH, 0, 9, False, 0, 0, 0, True, 2, _records())))


def _node_lives(golden: dict[str, bytes]) -> list[bytes]:
    """Each golden frame alone, in the middle of a life; and a few lives."""
    orders = [
        golden[name]
        for name in ("PUBLISH", "SUBSCRIBE", "PUSH_ACK", "QUERY", "WITHDRAW", "GET_STATUS", "CLOSE_SESSION")
    ]
    lives = [[("client", frame), ("time", b"", 200)] for name, frame in golden.items() if _is_request(name)]
    lives += [
        [("b", frame), ("time", b"", 1_500), ("c", frame, 0, False)]
        for name, frame in golden.items()
        if name.startswith("PEER_")
    ]
    lives.append([("client", frame) for frame in orders])
    lives.append([("client", orders[1]), ("b", _delta_of_peer()), ("time", b"", 100), ("client", orders[3])])
    lives.append([("client", orders[0]), ("time", b"", 40_000), ("c", golden["PEER_DIGEST"]), ("client", orders[3])])
    return [pack(life) for life in lives]


def _row_and_value(port: int) -> tuple[str, bytes]:
    instance = Instance("10.0.0.1", port, weight=2.5, ephemeral=False, metadata={"zone": "a"})
    return instance_row_key(_SERVICE, instance.key), instance_row_value(instance, "c1", SESSION, SESSION)


def _rows() -> list[bytes]:
    key, value = _row_and_value(8_080)
    other = instance_row_key(Service("prod", "g:1", "\u00e9.v2"), InstanceKey("::1", 0, "EAST"))
    place = (_SERVICE, InstanceKey("10.0.0.1", 8_080))
    times = (SESSION, SESSION + 60_000)
    intents = [KeptIntent(*place, each, "c2", "c1", *times, 0) for each in decisions_of(_INTENT).values()]
    rows = (
        *((key, value, 7), (other, value, 2**60), (fence_row_key("n1"), b"9", 1)),
        (service_row_key(_SERVICE), service_row_value(_SETTINGS, "c1", SESSION), 8),
        *((intent_row_key(each.place), intent_row_value(each), 9) for each in intents),
        (namespace_row_key(_PROD.id), namespace_row_value(_PROD, "c1", SESSION), 10),
    )
    return [pack(Row(*row)) for row in rows]


def _follower_lives() -> list[bytes]:
    """The node has an order of its client written; or misses a frame and follows anew; or loses the home."""
    key, value = _row_and_value(8_080)
    published = ("client", encode(Tag.PUBLISH_PERSISTENT, 2, SESSION, PublishPersistent(_SERVICE, _kept(8_080))))
    asked = ("client", encode(Tag.QUERY, 3, SESSION, Query(_SERVICE)))
    subscribed = ("client", encode(Tag.SUBSCRIBE, 4, SESSION, Subscribe(_SERVICE)))
    settled = ("b", encode_peer(PeerTag.STORE_SETTLED, StoreSettled((SettledProposal(2, True, STORE_INDEX + 1),))))
    written, removed = _news(1, key, value), _news(2, key, None)
    offer = ("b", encode_peer(PeerTag.STORE_OFFERED, StoreOffered(STORE, STORE_INDEX + 1)))
    again = StoreCut(STREAM + MEETING_MS, 1, STORE, STORE_INDEX + 3, True, (Row(key, value, STORE_INDEX + 3),))
    cut = ("b", encode_peer(PeerTag.STORE_CUT, again))
    lives: list[list[tuple[Any, ...]]] = [
        [published, settled, written, asked, removed, asked],
        [subscribed, written, _news(3, key, None), cut, asked],
        [subscribed, written, ("time", b"", 5_000), published, asked, offer, removed],
    ]
    return [pack(life) for life in lives]


def _news(step: int, key: str, value: bytes | None) -> tuple[str, bytes]:
    """So many frames after the last one."""
    change = StoredChange(STORE_INDEX + step, (Operation(key, value),))
    body = StoreNews(STREAM, STREAM_NUMBER + step, STORE_INDEX + step, (change,))
    return "b", encode_peer(PeerTag.STORE_NEWS, body)


def _home_lives() -> list[bytes]:
    """The node writes for its own client and for "b", which follows from the beginning, and later from where it is."""
    key, value = _row_and_value(8_080)
    follows = [
        ("b", encode_peer(PeerTag.STORE_FOLLOW, StoreFollow(stream, after, "")))
        for stream, after in ((1, NOTHING), (2, 1))
    ]
    ack = ("b", encode_peer(PeerTag.STORE_NEWS_ACK, StoreNewsAck(1, 2)))
    written = Proposal(9, (Operation(key, value), Operation(fence_row_key("b"), b"1")), (Expectation(key, 0),))
    proposed = ("b", encode_peer(PeerTag.STORE_PROPOSE, StorePropose((written, Proposal(10, (Operation(key, None),))))))
    published = ("client", encode(Tag.PUBLISH_PERSISTENT, 2, SESSION, PublishPersistent(_SERVICE, _kept(8_081))))
    keys = tuple(instance.key for instance in _kept(8_081))
    withdrawn = ("client", encode(Tag.WITHDRAW_PERSISTENT, 3, SESSION, WithdrawPersistent(_SERVICE, keys)))
    asked = ("client", encode(Tag.QUERY, 4, SESSION, Query(_SERVICE)))
    first = [follows[0], proposed, ack, published, asked, withdrawn, ("time", b"", 2_000), follows[1]]
    second = [published, follows[0], ("time", b"", 2_000), proposed, withdrawn, proposed, asked]
    return [pack(life) for life in (first, second, _decisions(published, asked))]


def _decisions(published: tuple[str, bytes], asked: tuple[str, bytes]) -> list[tuple[Any, ...]]:
    """What people decide, about an instance that is there."""
    wanted = SetIntent(_SERVICE, _kept(8_081)[0].key, _INTENT, 60_000)
    kept = IntentRow(_SERVICE, wanted.key, Intent(weight=0.5), "kept 5", "c1", 5, 0)
    restored = DurableRows(instances=(_row(8_081), _row(8_082)), intents=(kept,))
    orders = [
        encode(Tag.PUT_SERVICE, 5, SESSION, PutService(_SERVICE, _SETTINGS)),
        encode(Tag.SET_INTENT, 6, SESSION, wanted),
        encode(Tag.CLEAR_INTENT, 12, SESSION, ClearIntent(_SERVICE, wanted.key, ("weight",))),
        encode(Tag.GET_SERVICE, 7, SESSION, GetService(_SERVICE)),
        encode(Tag.PUT_NAMESPACE, 8, SESSION, PutNamespace(_PROD, "create")),
        encode(Tag.DELETE_SERVICE, 9, SESSION, DeleteService(_SERVICE)),
        encode(Tag.READ_DURABLE, 10, SESSION, ReadDurable()),
        encode(Tag.RESTORE_ROWS, 11, SESSION, RestoreRows(restored)),
    ]
    return [published, *(("client", order) for order in orders), ("time", b"", 61_000), asked]


def _kept(port: int) -> tuple[Instance, ...]:
    return (Instance("10.0.0.1", port, ephemeral=False),)


def _row(port: int) -> InstanceRow:
    return InstanceRow(_SERVICE, _kept(port)[0], "c1", 5, 5)


def _is_request(name: str) -> bool:
    return name in Tag.__members__ and Tag[name] < Tag.SESSION_OPENED


def _settings_files() -> list[bytes]:
    sections = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    found = [_section_text(section, values) for section, values in sections.items()]
    environment = b"\0ROLLBOOK_NODE_BASE_PORT=9000\nROLLBOOK_NODE_MEMBERS=a:1, b:2\nROLLBOOK_LOG_JSON=true\n"
    return [*found, environment, b"[node]\nhost = 'h'\n" + environment]


def _section_text(section: str, values: dict[str, object]) -> bytes:
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([f"[{section}]", *lines, ""]).encode()
