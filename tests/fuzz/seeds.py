"""Where fuzzing starts: the golden frames, the shipped settings, a members file; and the words of the text formats."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from rollbook.codec import pack
from rollbook.model import Instance, Service
from rollbook.wire import Tag
from runtime.settings import DEFAULTS
from tests.fuzz.mutations import TEXTS
from tests.fuzz.whole_node import EPOCH

_WIRE = Path(__file__).resolve().parent.parent / "wire"
_SERVICE = Service("public", "DEFAULT_GROUP", "orders")
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
        case "node":
            return _node_lives(golden)
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
