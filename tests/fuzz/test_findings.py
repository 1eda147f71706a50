"""What fuzzing found, each as the promise that was broken. The inputs themselves are in regressions/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.base import Role
from actors.durable_rows import RowUnreadable, read_row
from actors.messages.peers import PeerTag, StoreCut, StoreNews, StorePropose
from actors.messages.store import Operation, Proposal, Row, StoredChange
from actors.peer_frames import encode_peer
from rollbook.arguments import checked_types
from rollbook.cli.options import parse_address, parse_servers
from rollbook.codec import REASON_LENGTH_MAX, pack, typed
from rollbook.errors import Code, InvalidField, RemoteProtocolError, SettingsError
from rollbook.model import Instance, Service
from rollbook.servers import is_server
from rollbook.wire import MoveAdvised, Publish, Tag, encode, open_envelope, request_body
from runtime.edge import ClientEdge
from runtime.members_file import MembersFileWatch, read_members_file
from runtime.settings import NUMBER_MAX, load_settings
from runtime.text_files import FILE_BYTES_MAX, SHOWN_LENGTH_MAX, shown
from tests.fuzz.targets import IO_SETTINGS, LINK
from tests.fuzz.whole_node import STORE, STORE_INDEX, STREAM, STREAM_NUMBER, WholeNode

SERVICE = Service("public", "DEFAULT_GROUP", "orders")
MANY_DIGITS = "1" * 5_000  # int() takes 4,300


def publish_with(mode: str) -> bytes:
    return encode(Tag.PUBLISH, 7, 5, (SERVICE, (), mode))


def mistake(text: str = "", **environment: str) -> SettingsError:
    """What load_settings says to a file of this text and these variables of section node."""
    variables = {f"ROLLBOOK_{key.upper()}": value for key, value in environment.items()}
    with pytest.raises(SettingsError) as raised:
        load_settings(_file(text), {}, variables)
    assert raised.value.message.isprintable()
    return raised.value


ROW_KEY = "instance public DEFAULT_GROUP orders 10.0.0.1 80 DEFAULT"


def row_value(**changes: Any) -> bytes:
    fields = {"format": 1, "weight": 1.0, "healthy": True, "enabled": True, "metadata": {}, "author": "c"}
    return pack((*(fields | changes).values(), 5, 5))  # written and added in one moment


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(text: str) -> Path:
    path = Path("node.toml")
    path.write_text(text, encoding="utf-8")
    return path


# -- frames


@pytest.mark.parametrize("place", ["$[99]", "$[2][99]", "$[0][3]", "$.a[7]", "$"])
def test_a_value_that_reads_like_the_place_of_an_error_is_refused_by_its_own_field(place: str) -> None:
    """One frame of a client that had no session yet ended the node."""
    for mode in (f"x - at `{place}`", f" - at `key` in `{place}`", f"x - at `{place}`\n"):
        with pytest.raises(RemoteProtocolError) as raised:
            request_body(open_envelope(publish_with(mode)))
        assert (raised.value.code, raised.value.field) == (Code.PARAMETER_INVALID, "mode")


def test_no_frame_of_a_client_can_raise_out_of_the_edge_by_what_it_quotes() -> None:
    edge = ClientEdge(IO_SETTINGS)
    edge.receive(LINK, [publish_with("x - at `$[99]`")], "10.0.0.9")
    assert edge.counters == {"client_frames_parameter_invalid": 1}


def test_an_error_about_a_key_of_a_map_names_the_field_that_holds_the_map() -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        typed([list(SERVICE), [["10.0.0.1", 80, "DEFAULT", 1.0, True, True, True, {b"zone": "a"}]]], Publish)
    assert raised.value.field == "instances[0].metadata"


def test_an_error_quotes_the_beginning_of_a_long_value_only() -> None:
    """Else it is as long as the frame: in the answer, and in the log."""
    with pytest.raises(RemoteProtocolError) as raised:
        typed(["x" * 100_000], MoveAdvised)
    assert len(raised.value.message) < REASON_LENGTH_MAX + 20


# -- arguments of applications and of the command line


@pytest.mark.parametrize("server", [f"h:{MANY_DIGITS}", "h:00080", "h\0:80", "h\x1b:80", "h\ud800:80"])
def test_an_address_with_endless_digits_or_unprintable_names_is_no_server(server: str) -> None:
    """A node's own list of servers goes through the same check, on the client's network thread."""
    assert is_server(server) is (server == "h:00080")


@pytest.mark.parametrize("parse", [parse_servers, lambda text: parse_address(text, "IP:PORT")])
def test_endless_digits_on_the_command_line_are_refused_by_name(parse: Any) -> None:
    with pytest.raises(InvalidField):
        parse(f"10.0.0.1:{MANY_DIGITS}")


def test_values_of_an_instance_that_cannot_be_sent_are_refused_by_name() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    for instance in (Instance("10.0.0.1", 2**70), Instance("10.0.0.1", 80, metadata=endless)):
        with pytest.raises(InvalidField):
            checked_types(instance)
    assert pack(checked_types(Instance("10.0.0.1", 80)))


# -- settings and members


@pytest.mark.parametrize("number", ["²", "٣", MANY_DIGITS, f"-{MANY_DIGITS}", "-", "--1", "1_0"])
def test_what_looks_like_a_number_in_the_environment_is_refused_by_its_key(number: str) -> None:
    assert mistake(node_base_port=number).field == "node.base_port"


@pytest.mark.parametrize("value", [MANY_DIGITS, "[" * 2_000, "{a=" * 2_000])
def test_numbers_and_nesting_without_end_are_no_valid_toml(value: str) -> None:
    assert "is not valid TOML" in mistake(f"[node]\nbase_port = {value}\n").message


@pytest.mark.parametrize("value", [str(NUMBER_MAX + 1), "0x" + "f" * 5_000, "99999999999999999999"])
def test_a_number_that_no_socket_takes_is_refused(value: str) -> None:
    said = mistake(f"[io]\npeer_heartbeat_ms = {value}\n")
    assert said.message == f"node.toml: io.peer_heartbeat_ms: must be at most {NUMBER_MAX}"


def test_a_chunk_that_every_peer_would_refuse_is_refused_here() -> None:
    assert mistake("[clients]\nchunk_bytes_max = 1_000_000\n").field == "clients.chunk_bytes_max"


@pytest.mark.parametrize(
    "text",
    ['[node]\n"a\\nb" = 1\n', '["a\\nb"]\n', '"a\\u0000" = 1\n', '["a\\u2028"]\nx = 1\n', f"[node]\n{'x' * 9_999} = 1"],
)
def test_a_mistake_is_one_line_of_some_length_whatever_the_key_is_called(text: str) -> None:
    assert len(mistake(text).message) < 2 * SHOWN_LENGTH_MAX


@pytest.mark.parametrize("character", ["\\u0000", "\\n", "\\u001b", "\\u2028"])
@pytest.mark.parametrize("key", ["host", "data_directory", "members_file", "cluster_name"])
def test_texts_that_neither_a_path_nor_a_log_can_hold_are_refused(key: str, character: str) -> None:
    assert mistake(f'[node]\n{key} = "a{character}b"\n').field == f"node.{key}"


@pytest.mark.parametrize("key", ["node_host", "node_base_port", "node_members", "log_json"])
def test_bytes_of_the_environment_that_are_no_text_are_refused_by_their_variable(key: str) -> None:
    said = mistake(**{key: "\udcff\udcfe"})
    assert said.message.startswith(f"ROLLBOOK_{key.upper()}: ")


@pytest.mark.parametrize("read", [read_members_file, load_settings])
def test_a_path_that_can_be_none_is_refused_as_one_that_cannot_be_read(read: Any) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        read(Path("a\0b"))


def test_a_watch_of_a_path_that_can_be_none_sees_no_change() -> None:
    told: list[object] = []
    watch = MembersFileWatch(Path("a\0b"), told.append, told.append)
    watch.look()
    assert told == []


@pytest.mark.parametrize("read", [read_members_file, load_settings])
def test_a_file_that_is_no_file_of_ours_is_not_read_to_its_end(read: Any) -> None:
    path = _file("#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(SettingsError, match=f"longer than {FILE_BYTES_MAX} bytes"):
        read(path)
    with pytest.raises(SettingsError, match=f"longer than {FILE_BYTES_MAX} bytes"):
        read(Path("/dev/zero"))


def test_what_is_shown_is_one_line_of_some_length() -> None:
    assert shown("node.host") == "node.host"
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 10_000)) == SHOWN_LENGTH_MAX + 3


# -- durable data


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (ROW_KEY.replace(" 80 ", " 080 "), {}),
        (ROW_KEY.replace(" 80 ", " \u0668\u0660 "), {}),
        (ROW_KEY.replace(" 80 ", " +80 "), {}),
        (ROW_KEY.replace(" 80 ", f" {2**70} "), {}),
        (ROW_KEY.replace("orders", "a@@b"), {}),
        (ROW_KEY.replace(" 10.0.0.1 ", "  "), {}),
        (ROW_KEY, {"weight": float("nan")}),
        (ROW_KEY, {"weight": -1.0}),
        (ROW_KEY, {"metadata": {"zone": "x" * 2_000}}),
        (ROW_KEY, {"format": 2}),
        (f"{ROW_KEY} ", {}),
        ("", {}),
    ],
)
def test_a_row_that_no_node_writes_is_not_read(key: str, changes: dict[str, Any]) -> None:
    """An instance that no frame can carry ended every node that pushed it; one with two rows went with the first."""
    assert read_row(ROW_KEY, row_value(), 1)
    with pytest.raises(RowUnreadable):
        read_row(key, row_value(**changes), 1)


def test_a_peer_that_proposes_one_key_twice_does_not_end_the_node_that_keeps_the_store() -> None:
    node = WholeNode("home")
    twice = Proposal(1, (Operation(ROW_KEY, row_value()), Operation(ROW_KEY, None)))
    sound = Proposal(2, (Operation(ROW_KEY, row_value(weight=2.0)),))
    node.receive_from_peer("b", encode_peer(PeerTag.STORE_PROPOSE, StorePropose((twice, sound))))
    node.check_invariants()
    assert node.store.rows.rows[ROW_KEY].value == row_value(weight=2.0)


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_home_that_sends_what_lies_beyond_its_index_is_not_followed_there(*, is_cut: bool) -> None:
    """The follower would take what comes at the indexes between for known."""
    node = WholeNode("away")
    beyond, number = STORE_INDEX + 50, STREAM_NUMBER + 1
    rows = (Row(ROW_KEY, row_value(), beyond),)
    changes = (StoredChange(beyond, (Operation(ROW_KEY, row_value()),)),)
    cut = encode_peer(PeerTag.STORE_CUT, StoreCut(STREAM, number, STORE, STORE_INDEX + 1, True, rows))
    news = encode_peer(PeerTag.STORE_NEWS, StoreNews(STREAM, number, STORE_INDEX + 1, changes))
    node.receive_from_peer("b", cut if is_cut else news)
    node.check_invariants()
    persistent: Any = node.behaviours[Role.PERSISTENT]
    assert (persistent.image.index, ROW_KEY in persistent.image.rows) == (STORE_INDEX, False)
