"""Which etcd will do, who gets a member, how it is started; and the child process itself, known by its mark."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import msgspec
import pytest

from runtime.processes import is_running
from runtime.store.etcd_child import EtcdChild, FoundEtcd, find_etcd
from runtime.store.etcd_gateway import AnswerHeader, StatusAnswer
from runtime.store.etcd_members import peers_of
from runtime.store.etcd_plan import (
    EtcdUnfit,
    EtcdVersion,
    MemberPlan,
    Timers,
    check_version,
    member_command,
    member_environment,
    parse_version,
    seats,
)
from runtime.store.etcd_reads import EtcdMember, trouble_of
from tests.support.etcd_cluster import wait_until
from tests.support.store_settings import ETCD

PLAN = MemberPlan(
    name="n1",
    cluster_token="token",
    data_directory="data",
    client_url="http://127.0.0.1:1",
    peer_url="http://127.0.0.1:2",
    peers=(("n0", "http://127.0.0.1:3"), ("n1", "http://127.0.0.1:2")),
    timers=Timers.LAPTOP,
)


def test_the_version_is_read_from_what_etcd_prints() -> None:
    assert parse_version("etcd Version: 3.4.23\nGit SHA: x\nGo Version: go1.19.8\n") == EtcdVersion(3, 4, 23)
    assert parse_version("etcd Version: 3.6.0-rc.1\n") == EtcdVersion(3, 6, 0)
    with pytest.raises(EtcdUnfit, match="is this etcd"):
        parse_version("Version 3.4.23")


@pytest.mark.parametrize(
    "version", [(2, 3, 8), (3, 3, 27), (3, 4, 0), (3, 4, 21), (3, 5, 0), (3, 5, 1), (3, 5, 5), (4, 0, 0)]
)
def test_a_version_that_may_lose_data_is_refused_by_name(version: tuple[int, int, int]) -> None:
    with pytest.raises(EtcdUnfit, match=r"etcd {}\.{}\.{}".format(*version)):
        check_version(EtcdVersion(*version))


@pytest.mark.parametrize(
    ("version", "warns"),
    [((3, 4, 22), True), ((3, 4, 45), True), ((3, 5, 6), False), ((3, 6, 0), False), ((3, 7, 1), False)],
)
def test_all_other_3_4_get_one_line_of_warning(version: tuple[int, int, int], warns: bool) -> None:
    warning = check_version(EtcdVersion(*version))
    assert bool(warning) == warns
    assert "\n" not in warning


def test_the_first_nodes_have_a_member_and_always_an_odd_number_of_them() -> None:
    assert [seats(["a", "b", "c", "d", "e"][:count], 3) for count in range(6)] == [
        (),
        ("a",),
        ("a",),
        ("a", "b", "c"),
        ("a", "b", "c"),
        ("a", "b", "c"),
    ]
    assert seats(["a", "b", "c", "d"], 5) == ("a", "b", "c")
    assert seats(["a", "b", "c", "d", "e"], 4) == ("a", "b", "c")
    assert seats(["a", "b", "c", "d", "e"], 5) == ("a", "b", "c", "d", "e")


def test_the_command_line_says_all_that_is_not_left_to_chance() -> None:
    command = member_command("/usr/bin/etcd", PLAN, EtcdVersion(3, 4, 23), ETCD)
    assert command[0] == "/usr/bin/etcd"
    assert {
        "--initial-cluster=n0=http://127.0.0.1:3,n1=http://127.0.0.1:2",
        "--initial-cluster-state=new",
        "--pre-vote=true",
        "--heartbeat-interval=50",
        "--election-timeout=500",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=60m",
        "--snapshot-count=10000",
        "--quota-backend-bytes=2147483648",
    } <= set(command)
    assert not any("unsafe" in flag or "progress" in flag for flag in command)


def test_flags_follow_the_version_the_timers_and_the_state() -> None:
    newer = member_command("etcd", PLAN, EtcdVersion(3, 5, 6), ETCD)
    newest = member_command("etcd", PLAN, EtcdVersion(3, 6, 0), ETCD)
    assert "--experimental-watch-progress-notify-interval=5000ms" in newer
    assert "--watch-progress-notify-interval=5000ms" in newest
    other = msgspec.structs.replace(PLAN, timers=Timers.LAN, joins_existing=True)
    assert {"--heartbeat-interval=100", "--election-timeout=1000", "--initial-cluster-state=existing"} <= set(
        member_command("etcd", other, EtcdVersion(3, 4, 23), ETCD)
    )


def test_settings_of_another_etcd_and_proxies_stay_out_of_a_member() -> None:
    environment = {"PATH": "p", "ETCD_NAME": "x", "ETCD_UNSUPPORTED_ARCH": "arm64", "HTTPS_PROXY": "x"}
    assert member_environment(environment) == {"PATH": "p", "ETCD_UNSUPPORTED_ARCH": "arm64"}


def test_a_joining_member_is_named_where_the_list_does_not_know_it_yet() -> None:
    known = [EtcdMember("7", "", ["http://new"]), EtcdMember("1", "n0", ["http://old"])]
    assert peers_of(known, "7", "n1") == (("n1", "http://new"), ("n0", "http://old"))


def test_what_is_wrong_with_etcd_is_one_sentence() -> None:
    def status(leader: str, *errors: str) -> StatusAnswer:
        return StatusAnswer(AnswerHeader(), leader=leader, errors=list(errors))

    assert trouble_of(status("7")) == ""
    assert "no leader" in trouble_of(status("", "etcdserver: no leader"))
    assert "no space" in trouble_of(status("7", "memberID:7 alarm:NOSPACE "))
    assert "CORRUPT" in trouble_of(status("7", "memberID:7 alarm:CORRUPT "))


def script(directory: Path, text: str) -> str:
    path = directory / "etcd"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_etcd_that_is_not_there_is_none_and_one_that_is_unfit_is_named(tmp_path: Path) -> None:
    assert find_etcd(str(tmp_path / "etcd")) is None
    binary = script(tmp_path, "echo 'etcd Version: 3.5.2'")
    with pytest.raises(EtcdUnfit, match=r"3\.5\.2"):
        find_etcd(binary)
    binary = script(tmp_path, "echo 'etcd Version: 3.5.17'")
    assert find_etcd(binary) == FoundEtcd(binary, EtcdVersion(3, 5, 17), "")


@pytest.fixture
def stand_in(tmp_path: Path) -> FoundEtcd:
    """A process that takes the flags of a member, and ends when it is asked to."""
    return FoundEtcd(script(tmp_path, "exec tail -f /dev/null"), EtcdVersion(3, 5, 17), "")


def child_of(
    found: FoundEtcd, directory: Path, *, timers: Timers = Timers.LAPTOP, stop_ms_max: int = 10_000
) -> EtcdChild:
    plan = msgspec.structs.replace(PLAN, data_directory=str(directory / "n1" / "data"), timers=timers)
    return EtcdChild(found, plan, directory / "n1", msgspec.structs.replace(ETCD, child_stop_ms_max=stop_ms_max))


def test_a_child_has_a_directory_of_its_own_that_nobody_else_reads(stand_in: FoundEtcd, tmp_path: Path) -> None:
    child = child_of(stand_in, tmp_path)
    assert child.start()
    for directory in (tmp_path / "n1", tmp_path / "n1" / "data"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert child.stop()
    assert not child.is_running
    assert not (tmp_path / "n1" / "etcd.pid").exists()


def test_an_orphan_started_in_the_same_way_is_taken_over(stand_in: FoundEtcd, tmp_path: Path) -> None:
    orphan = child_of(stand_in, tmp_path)
    orphan.start()
    successor = child_of(stand_in, tmp_path)
    assert not successor.start()
    assert successor.mark == orphan.mark
    assert successor.is_running
    assert successor.stop()
    assert not orphan.is_running


def test_an_orphan_started_otherwise_is_ended_first(stand_in: FoundEtcd, tmp_path: Path) -> None:
    orphan = child_of(stand_in, tmp_path)
    orphan.start()
    successor = child_of(stand_in, tmp_path, timers=Timers.LAN)
    assert successor.start()
    assert successor.mark != orphan.mark
    assert not orphan.is_running
    assert successor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc shows what a process carries")
def test_an_orphan_whose_node_died_before_it_wrote_that_down_is_ended(stand_in: FoundEtcd, tmp_path: Path) -> None:
    orphan = child_of(stand_in, tmp_path)
    orphan.start()
    assert orphan.mark is not None
    name = Path(f"/proc/{orphan.mark.pid}/comm")
    wait_until(
        lambda: name.read_text() == "tail\n", 5, "the script has become what it runs, which changes its environment"
    )
    (tmp_path / "n1" / "etcd.pid").unlink()
    successor = child_of(stand_in, tmp_path)
    assert successor.start()
    assert not orphan.is_running
    assert successor.stop()


def test_a_number_that_passed_to_another_process_is_left_alone(stand_in: FoundEtcd, tmp_path: Path) -> None:
    stranger = child_of(stand_in, tmp_path / "elsewhere")
    stranger.start()
    (tmp_path / "n1").mkdir()
    text = (tmp_path / "elsewhere" / "n1" / "etcd.pid").read_text()
    assert stranger.mark is not None
    (tmp_path / "n1" / "etcd.pid").write_text(text.replace(stranger.mark.started, "another time"))
    successor = child_of(stand_in, tmp_path)
    assert successor.start()
    assert stranger.is_running
    assert successor.stop()
    assert stranger.stop()


def test_a_member_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = script(tmp_path, "trap '' TERM; echo ready; exec tail -f /dev/null")
    child = child_of(FoundEtcd(stubborn, EtcdVersion(3, 5, 17), ""), tmp_path, stop_ms_max=200)
    child.start()
    wait_until(lambda: child.last_log_lines() == ["ready"], 5, "it ignores the signal")
    mark = child.mark
    assert not child.stop()
    assert mark is not None
    assert not is_running(mark)


def test_why_a_member_ended_is_told_in_its_own_words(tmp_path: Path) -> None:
    found = FoundEtcd(script(tmp_path, "echo 'the data is broken' >&2"), EtcdVersion(3, 5, 17), "")
    child = child_of(found, tmp_path)
    child.start()
    wait_until(lambda: not child.is_running, 5, "it has ended")
    assert child.last_log_lines() == ["the data is broken"]
    assert child.stop()
