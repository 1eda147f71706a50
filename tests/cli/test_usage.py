"""Wrong usage and wrong configuration: one line, an exit code, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollbook.cli import main
from rollbook.errors import SettingsError
from runtime.node import Node
from runtime.settings import load_settings

NOBODY = "127.0.0.1:9"  # the discard port: nobody listens there


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["frobnicate"], "No such command"),
        (["nodes", "--frobnicate"], "No such option"),
        (["register", "orders"], "Missing argument 'IP:PORT'"),
        (["register", "orders", "10.0.0.1"], "IP:PORT must be HOST:PORT"),
        (["register", "orders", "10.0.0.1:80", "--weight", "heavy"], "valid number"),
        (["register", "orders", "10.0.0.1:80", "--weight", "10001"], "weight must lie between"),
        (["register", "orders", "10.0.0.1:80", "--metadata", "v"], "KEY=VALUE"),
        (["register", "orders", "10.0.0.1:80", "--wait", "moon"], "--wait"),
        (["register", "orders", "10.0.0.1:80", "--persistent", "--drain"], "--drain is for an instance that is held"),
        (["register", "orders", "10.0.0.1:80", "--persistent", "--wait", "cluster"], "waited for on one node only"),
        (["register", "orders", "10.0.0.1:80", "--persistent", "--wait", "subscribers"], "on one node only"),
        (["deregister", "orders"], "Missing argument 'IP:PORT'"),
        (["deregister", "orders", "10.0.0.1"], "IP:PORT must be HOST:PORT"),
        (["deregister", "orders", "10.0.0.1:80", "--cluster", "two words"], "forbidden characters"),
        (["instances", "two words"], "forbidden characters"),
        (["register", "orders\udcff", "10.0.0.1:80"], "not valid Unicode"),
        (["register", "orders", "10.0.0.1:80", "--metadata", "k=\udcff"], "instance: "),
        (["services", "--server", "nowhere"], "server must be HOST:PORT"),
        (["nodes", "--server", "*:8850"], "must read host:port"),
        (["nodes", "--timeout", "inf"], "--timeout"),
        (["services", "--timeout", "1e12"], "--timeout"),
        (["--server", "nowhere", "nodes"], "server must be HOST:PORT"),
        (["start", "--base-port", "70000"], "node.base_port: must lie between"),
        (["start", "--members", "a:b"], "node.members"),
        (["start", "--log-level", "loud"], "log.level: must be one of"),
        (["start", "--config", "absent.toml"], "cannot read absent.toml"),
        (["config", "check", "absent.toml"], "cannot read absent.toml"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert "(code " in err


@pytest.mark.parametrize(
    "arguments",
    [["nodes", "--timeout", "0.1"], ["services", "--timeout", "0.2"], ["watch", "orders", "--timeout", "0.2"]],
)
def test_a_cluster_that_cannot_be_reached_is_exit_code_3(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = run(capsys, *arguments, "--server", NOBODY)
    assert code == 3
    assert out == ""
    assert [line for line in err.splitlines() if line.startswith("error: ")] == err.splitlines()[-1:]


def test_servers_come_from_the_environment_unless_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLBOOK_SERVERS", "nowhere")
    assert "server must be HOST:PORT, not 'nowhere'" in run(capsys, "services")[2]
    assert run(capsys, "nodes", "--server", NOBODY, "--timeout", "0.1")[0] == 3


@pytest.mark.parametrize("arguments", [["--help"], ["start", "--help"], ["config", "check", "--help"]])
def test_help_is_no_error(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "Usage" in out


def test_the_help_says_what_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Exit codes: 0 done; 1 refused" in run(capsys, "--help")[1]


def test_a_valid_configuration_is_printed_with_what_differs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[push]\ninterval_ms = 80\n")
    code, out, _ = run(capsys, "config", "check", str(file))
    assert code == 0
    assert "interval_ms = 80  # default: 50" in out
    assert "1 differ from the defaults: push.interval_ms" in out


def test_a_configuration_as_json_is_one_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLBOOK_PUSH_INTERVAL_MS", "80")
    for arguments in (["config", "check", "--json"], ["--json", "config", "check"]):
        value = json.loads(run(capsys, *arguments)[1])
        assert value["valid"] is True
        assert value["settings"]["push"]["interval_ms"] == 80
        assert value["changed"] == ["push.interval_ms"]


def test_a_misspelt_setting_is_answered_by_the_nearest_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[push]\nintervall_ms = 80\n")
    code, _, err = run(capsys, "config", "check", str(file))
    assert code == 2
    assert "did you mean interval_ms?" in err


def test_a_member_list_without_this_node_is_found_by_the_check_as_by_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listed = tmp_path / "members.conf"
    listed.write_text("10.0.0.2:8848\n10.0.0.3:8848\n")
    for said in ('members = ["10.0.0.2:8848"]', f'members_file = "{listed}"'):
        file = tmp_path / "mine.toml"
        file.write_text(f'[node]\nadvertised_host = "10.0.0.1"\ndata_directory = "{tmp_path}/data"\n{said}\n')
        code, _, err = run(capsys, "config", "check", str(file))
        assert code == 2
        assert "do not name this node, 10.0.0.1:8848" in err
        with pytest.raises(SettingsError, match=r"do not name this node, 10\.0\.0\.1:8848"):
            Node(load_settings(file, environment={}))
    assert not (tmp_path / "data").exists(), "and the start has left no trace"


@pytest.mark.parametrize("name", ["local", "local.toml", "lan"])
def test_ready_sets_are_valid_and_known_by_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, "config", "check", name)
    assert code == 0
    assert "cluster_name = " in out


def test_a_members_file_that_names_nobody_is_found_by_the_check(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    members = tmp_path / "members.conf"
    members.write_text("# nobody\n")
    file = tmp_path / "mine.toml"
    file.write_text(f'[node]\nmembers_file = "{members}"\n')
    code, _, err = run(capsys, "config", "check", str(file))
    assert code == 2
    assert "names nobody" in err
