"""A seat of etcd: whose it is, what its member is started with, and what it makes of what other seats say."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from rollbook.errors import SettingsError
from runtime.settings import Settings, load_settings
from runtime.store.etcd_beginning import Beginning
from runtime.store.etcd_plan import Timers
from runtime.store.etcd_seat import open_seat
from tests.support.etcd_cluster import free_url, wait_until

LOOPBACK = ("127.0.0.1:8848", "127.0.0.1:8858", "127.0.0.1:8868", "127.0.0.1:8878")
AWAY = ("127.0.0.1:8848", "10.0.0.2:8848", "10.0.0.3:8848")
SLICES_MAX = 60
NOBODY = b"HTTP/1.0 200 OK\r\n\r\n[]"
MEMBERS = b'HTTP/1.0 200 OK\r\n\r\n[{"id":1}]'


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, version: str = "3.5.9") -> Path:
    """An etcd that writes down what it was started with, and stays. Returns where."""
    said = directory / "arguments"
    binary = directory / "bin" / "etcd"
    binary.parent.mkdir()
    binary.write_text(
        f"#!/bin/sh\n[ \"$1\" = --version ] && echo 'etcd Version: {version}' && exit\n"
        f'echo "$@" > {said}.draft; mv {said}.draft {said}; exec sleep 60\n'
    )
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binary.parent}:/bin:/usr/bin")
    return said


def node(directory: Path, members: tuple[str, ...] = LOOPBACK, own: int = 0) -> Settings:
    host, port = members[own].rsplit(":", 1)
    fields: dict[str, Any] = {"host": host, "base_port": int(port), "members": list(members)}
    settings = {"node": {**fields, "data_directory": str(directory)}, "store": {"engine": "etcd"}}
    return load_settings(None, {**settings, "etcd": {"children_unencrypted": True}}, {})


def leave_seat(directory: Path, whose: str) -> None:
    wal = directory / "etcd" / "data" / "member" / "wal"
    wal.mkdir(parents=True)
    (wal / "0.wal").touch()
    (directory / "etcd" / "seat").write_text(f"{whose}\n")


def test_a_node_beyond_the_seats_has_none(tmp_path: Path) -> None:
    assert open_seat(node(tmp_path, own=3), logger) is None


def test_without_an_etcd_and_with_one_that_loses_data_a_seat_is_refused_by_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="none is on the path") as raised:
        open_seat(node(tmp_path / "data"), logger)
    assert raised.value.field == "store.engine"
    install(tmp_path, monkeypatch, "3.5.2")
    with pytest.raises(SettingsError, match=r"etcd 3\.5\.2 must not be used") as raised:
        open_seat(node(tmp_path / "data"), logger)
    assert raised.value.field == "store.engine"


def test_the_member_of_another_address_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    leave_seat(tmp_path, "127.0.0.1:8861")
    with pytest.raises(SettingsError, match=r"member of 127\.0\.0\.1:8861, and this is 127\.0\.0\.1:8851"):
        open_seat(node(tmp_path), logger)


@pytest.mark.parametrize(("members", "heartbeat"), [(LOOPBACK, "laptop"), (AWAY, "lan")])
def test_a_member_with_data_is_started_with_it_and_with_the_timers_of_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: tuple[str, ...], heartbeat: str
) -> None:
    said = install(tmp_path, monkeypatch)
    leave_seat(tmp_path / "data", "127.0.0.1:8851")
    seat = open_seat(node(tmp_path / "data", members), logger)
    assert seat is not None
    try:
        seat.look()
        wait_until(said.exists, 10, "the member was started")
    finally:
        seat.stop()
    arguments = dict(argument.removeprefix("--").split("=", 1) for argument in said.read_text().split())
    assert arguments["data-dir"] == str(tmp_path / "data" / "etcd" / "data")
    assert arguments["initial-cluster-state"] == "new"
    timers = (int(arguments["heartbeat-interval"]), int(arguments["election-timeout"]))
    assert timers == {"laptop": Timers.LAPTOP.value, "lan": Timers.LAN.value}[heartbeat]


# -- before it has data


class ScriptedSeat(socketserver.ThreadingTCPServer):
    """Another seat, or the etcd that runs there."""

    allow_reuse_address = True
    daemon_threads = True
    answer = NOBODY
    is_known = False  # somebody has said that it knows what this one answered


class _Asked(socketserver.BaseRequestHandler):
    server: ScriptedSeat

    def handle(self) -> None:
        if request := self.request.recv(4_096):
            self.server.is_known |= b"knows=1" in request
            self.request.sendall(self.server.answer)


@contextmanager
def seat_at(address: str, answer: bytes) -> Iterator[ScriptedSeat]:
    host, port = address.rsplit(":", 1)
    with ScriptedSeat((host, int(port)), _Asked) as server:
        server.answer = answer
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def pair() -> tuple[Beginning, str]:
    own, other = (free_url().removeprefix("http://") for _ in range(2))
    return Beginning(own, own, [other]), other


def hear_until(beginning: Beginning, is_so: Callable[[], bool]) -> None:
    """A slice is short, and the other side may need longer."""
    for _ in range(SLICES_MAX):
        beginning.hear()
        if is_so():
            return
    raise AssertionError(f"not within {SLICES_MAX} slices")


def test_a_seat_that_had_no_data_and_runs_by_now_has_begun_with_this_one() -> None:
    beginning, other = pair()
    with seat_at(other, NOBODY) as seat:
        hear_until(beginning, lambda: seat.is_known)
        assert (beginning.missing, beginning.was_there_before) == ([other], False), "it has not heard of this one"
        seat.answer = MEMBERS
        hear_until(beginning, lambda: not beginning.missing)
        assert not beginning.was_there_before


def test_an_etcd_that_is_gone_again_is_nobody_to_join() -> None:
    beginning, other = pair()
    with seat_at(other, MEMBERS):
        hear_until(beginning, lambda: beginning.was_there_before)
        assert beginning.missing == [other]
    beginning.hear()
    assert (beginning.missing, beginning.was_there_before) == ([other], False)
