"""Settings: who overrules whom, and that every mistake is one line that names the key and where it was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollbook.errors import SettingsError
from runtime.settings import configured_home, load_settings


def load(path: Path | None = None, environment: dict[str, str] | None = None, **overrides: Any) -> Any:
    return load_settings(path, overrides, environment or {})


def file_with(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def mistake(path: Path | None = None, environment: dict[str, str] | None = None, **overrides: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        load(path, environment, **overrides)
    assert "\n" not in raised.value.message
    return raised.value.message


def test_the_shipped_defaults_are_valid_and_standalone() -> None:
    settings = load()
    assert settings.node.is_standalone
    assert (settings.node.bound_client_address, settings.node.bound_peer_address) == (
        "127.0.0.1:8850",
        "127.0.0.1:8851",
    )


def test_the_command_line_overrules_the_environment_and_that_overrules_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, "[node]\nbase_port = 1000\nhost = 'a'\ncluster_name = 'file'\n")
    environment = {"ROLLBOOK_NODE_BASE_PORT": "2000", "ROLLBOOK_NODE_HOST": "b"}
    node = load(path, environment, node={"base_port": 3000}).node
    assert (node.base_port, node.host, node.cluster_name) == (3000, "b", "file")


def test_the_environment_is_read_as_the_kind_that_the_default_has() -> None:
    environment = {
        "ROLLBOOK_NODE_MEMBERS": "127.0.0.1:8848, 127.0.0.1:8858",
        "ROLLBOOK_MEMBERS_GRACES_MS": "15000,45000",
        "ROLLBOOK_LOG_JSON": "true",
        "ROLLBOOK_BASE_PORT": "not of a section: it belongs to a script",
    }
    settings = load(None, environment)
    assert settings.node.members == ("127.0.0.1:8848", "127.0.0.1:8858")
    assert settings.members.graces_ms == (15_000, 45_000)
    assert settings.log.json is True


def test_what_others_dial_is_the_advertised_host() -> None:
    node = load(node={"host": "0.0.0.0", "advertised_host": "10.0.0.1", "members": ["10.0.0.1:8848"]}).node
    assert (node.advertised_peer_address, node.bound_peer_address) == ("10.0.0.1:8851", "0.0.0.0:8851")


def test_an_unknown_key_is_answered_by_the_nearest_known_one(tmp_path: Path) -> None:
    path = file_with(tmp_path, "[node]\nbase_prot = 1\n")
    assert mistake(path) == f"{path}: there is no setting node.base_prot; did you mean base_port?"


def test_an_unknown_section_is_answered_by_the_nearest_known_one(tmp_path: Path) -> None:
    path = file_with(tmp_path, "[clinets]\n")
    assert mistake(path) == f"{path}: there is no section [clinets]; did you mean clients?"


def test_a_misspelt_variable_of_a_known_section_is_refused() -> None:
    said = mistake(environment={"ROLLBOOK_IO_DRAIN_FRAME_MAX": "5"})
    assert said == "ROLLBOOK_IO_DRAIN_FRAME_MAX: there is no setting io.drain_frame_max; did you mean drain_frames_max?"


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("io", {"drain_frames_max": "many"}, "io.drain_frames_max: expected `int`, got `str`"),
        ("io", {"drain_frames_max": 0}, "io.drain_frames_max: must be at least 1, not 0"),
        ("push", {"interval_ms": 0}, "push.interval_ms: must be at least 1, not 0"),
        ("members", {"graces_ms": [1, "x"]}, "members.graces_ms[1]: expected `int`, got `str`"),
        ("members", {"lease_ms": -1}, "members.lease_ms: must be at least 0, not -1"),
        ("node", {"base_port": 65_000}, "node.base_port: must lie between 1 and 64535, not 65000"),
        ("node", {"cluster_name": " "}, "node.cluster_name: must not be empty"),
        ("node", {"members": ["10.0.0.1:x"]}, "node.members: '10.0.0.1:x' needs a port between 1 and 64535"),
        ("node", {"members": ["a:1"], "members_file": "f"}, "node.members_file: takes the place of members"),
        ("node", {"host": "0.0.0.0", "members": ["a:1"]}, "node.advertised_host: must be said"),
        ("log", {"level": "LOUD"}, "log.level: must be one of DEBUG, INFO, WARNING, ERROR, not 'LOUD'"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_source(section: str, values: dict[str, Any], expected: str) -> None:
    overrides: dict[str, Any] = {section: values}
    said = mistake(**overrides)
    assert expected in said
    assert said.startswith(("the command line: ", "defaults.toml: "))


def test_a_wrong_value_of_a_file_names_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, "[verify]\ninterval_ms = 1.5\n")
    assert mistake(path) == f"{path}: verify.interval_ms: expected `int`, got `float`"


def test_a_file_that_is_missing_or_no_toml_is_one_line(tmp_path: Path) -> None:
    assert mistake(tmp_path / "none.toml") == f"cannot read {tmp_path / 'none.toml'}: No such file or directory"
    assert "is not valid TOML" in mistake(file_with(tmp_path, "[node\n"))
    assert "is not valid TOML" in mistake(file_with(tmp_path, "node = "))


def test_a_section_that_is_a_value_is_refused(tmp_path: Path) -> None:
    assert "[node] is a section, not a value" in mistake(file_with(tmp_path, "node = 5\n"))


CLUSTER = {"members": ["127.0.0.1:8848", "127.0.0.1:8858"]}


@pytest.mark.parametrize(
    ("store", "node", "expected"),
    [
        ({"engine": "sqlit"}, {}, "store.engine: there is no engine 'sqlit'; did you mean sqlite?"),
        ({"engine": "x"}, {}, "there is no engine 'x'; there are auto, etcd, single_home, sqlite"),
        ({"engine": "sqlite"}, CLUSTER, "store.engine: sqlite keeps the rows of one node"),
        ({"engine": "single_home"}, {}, "store.engine: single_home needs a cluster"),
        ({"engine": "sqlite", "endpoints": ["a:1"]}, {}, "store.endpoints: only etcd has endpoints"),
        ({"engine": "etcd", "home": "a:1"}, {}, "store.home: only a single home has one"),
        ({"endpoints": ["a:1", "b:2", "a:1"]}, {}, "store.endpoints: each may be said once"),
        ({"endpoints": ["http://a:1"]}, {}, "store.endpoints: 'http://a:1' is not host:port"),
        ({"endpoints": ["a:65536"]}, {}, "store.endpoints: 'a:65536' needs a port between 1 and 65535"),
        ({"home": "a:0"}, CLUSTER, "store.home: 'a:0' needs a port between 1 and"),
        ({"propose_timeout_ms": -1}, {}, "store.propose_timeout_ms: must be at least 0, not -1"),
    ],
)
def test_what_keeps_the_durable_data_is_checked_before_anything_starts(
    store: dict[str, Any], node: dict[str, Any], expected: str
) -> None:
    assert expected in mistake(None, None, store=store, node=node)


@pytest.mark.parametrize("key", ["write_lanes_max", "read_lanes_max", "watches_max", "waiting_max"])
def test_an_engine_that_could_do_nothing_is_refused(key: str) -> None:
    assert mistake(None, None, etcd={key: 0}) == f"the command line: etcd.{key}: must be at least 1, not 0"


def test_an_etcd_from_outside_may_listen_at_any_port() -> None:
    store = load(None, {"ROLLBOOK_STORE_ENDPOINTS": "10.0.0.1:2379, 10.0.0.2:65535,[::1]:1"}).store
    assert store.endpoints == ("10.0.0.1:2379", "10.0.0.2:65535", "[::1]:1")


def test_the_home_is_the_first_member_unless_it_is_said() -> None:
    assert configured_home(load()) == ""
    assert configured_home(load(node=CLUSTER)) == "127.0.0.1:8851"
    assert configured_home(load(node=CLUSTER, store={"home": "127.0.0.1:8858"})) == "127.0.0.1:8861"
    with pytest.raises(SettingsError, match=r"store.home: 127\.0\.0\.1:9 is none of the members"):
        configured_home(load(node=CLUSTER, store={"home": "127.0.0.1:9"}))
