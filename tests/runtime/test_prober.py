"""The prober against real sockets: servers that answer, refuse, stay silent, and say too much."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from actors.messages.health import InstanceProbe, Outcome, ProbesOrdered
from actors.probe_targets import request_of
from rollbook.checkers import CheckerSettings
from runtime.name_book import Found, resolve
from tests.support.probed import ProberBench, answering, deaf_port, free_port, listening, probers

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def bench() -> Iterator[ProberBench]:
    with probers(probe_timeout_ms=300) as bench:
        yield bench


def http(bench: ProberBench, *pieces: bytes, expected_status: int = 200) -> Outcome:
    """What comes of a GET that is answered by these pieces."""

    def answer(connection: socket.socket, _: bytes) -> None:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with answering(answer) as port:
        return bench.outcome(port, request=GET, expected_status=expected_status)


def test_a_connection_that_stands_is_ok(bench: ProberBench) -> None:
    with listening() as server:
        assert bench.outcome(server.getsockname()[1]) == "ok"


def test_ipv6_is_probed_as_well(bench: ProberBench) -> None:
    try:
        with listening(socket.AF_INET6) as server:
            assert bench.outcome(server.getsockname()[1], "::1") == "ok"
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")


def test_a_port_that_nobody_listens_at_is_refused(bench: ProberBench) -> None:
    assert bench.outcome(free_port()) == "refused"
    assert bench.outcome(free_port(), request=GET) == "refused"


def test_silence_takes_the_time_out_and_is_no_refusal(bench: ProberBench) -> None:
    with deaf_port() as port:
        result = bench.look(InstanceProbe(1, "127.0.0.1", port))[1]
    assert result.outcome == "busy"
    assert 290 <= result.duration_ms < 3_000


def test_one_that_is_silent_holds_up_no_other(bench: ProberBench) -> None:
    with deaf_port() as deaf, listening() as server:
        probes = [InstanceProbe(number, "127.0.0.1", deaf) for number in range(50)]
        found = bench.look(*probes, InstanceProbe(99, "127.0.0.1", server.getsockname()[1]))
    assert {found[number].outcome for number in range(50)} == {"busy"}
    assert found[99].outcome == "ok"
    assert found[99].duration_ms < 290


@pytest.mark.parametrize(
    ("status_line", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\n", "ok"),
        (b"HTTP/1.0 200\r\n", "ok"),
        (b"HTTP/1.1 503 Service Unavailable\r\n", "busy"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n", "busy"),
        (b"HTTP/1.1 404 Not Found\r\n", "refused"),
        (b"HTTP/1.1 500 Oops\r\n", "refused"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "error"),
        (b"HTTP/1.1 2000 OK\r\n", "error"),
        (b"", "error"),
    ],
)
def test_the_status_of_an_answer_decides(bench: ProberBench, status_line: bytes, outcome: Outcome) -> None:
    assert http(bench, status_line + b"Content-Length: 0\r\n\r\n" if status_line else b"") == outcome


def test_another_expected_status_is_honoured(bench: ProberBench) -> None:
    assert http(bench, b"HTTP/1.1 204 No Content\r\n\r\n", expected_status=204) == "ok"
    assert http(bench, b"HTTP/1.1 200 OK\r\n\r\n", expected_status=204) == "refused"


def test_an_answer_in_pieces_is_read_to_its_first_line(bench: ProberBench) -> None:
    assert http(bench, b"HTTP/1", b".1 20", b"0 OK\r", b"\n") == "ok"


def test_a_first_line_without_end_is_not_read_on(bench: ProberBench) -> None:
    assert http(bench, b"HTTP/1.1 200 " + b"x" * 100_000) == "error"


def test_an_answer_that_is_as_long_as_may_be_and_no_status_is_not_waited_for() -> None:
    done = threading.Event()

    def fill(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"x" * 64)
        done.wait(10)

    with probers(answer_bytes_max=64, probe_timeout_ms=5_000) as bench, answering(fill) as port:
        assert bench.outcome(port, request=GET) == "error"
        done.set()


def test_a_huge_header_behind_the_status_does_no_harm(bench: ProberBench) -> None:
    assert http(bench, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n") == "ok"


def test_a_server_that_accepts_and_says_nothing_is_busy(bench: ProberBench) -> None:
    done = threading.Event()

    def say_nothing(_: socket.socket, __: bytes) -> None:
        done.wait(10)

    with answering(say_nothing) as port:
        assert bench.outcome(port, request=GET) == "busy"
        done.set()


def test_what_is_no_http_is_known_by_its_first_line(bench: ProberBench) -> None:
    done = threading.Event()

    def greet(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        done.wait(10)

    with answering(greet) as port:
        assert bench.outcome(port, request=GET) == "error"
        done.set()


def test_a_server_sees_the_request_as_it_was_built(bench: ProberBench) -> None:
    seen: list[bytes] = []
    request = request_of("127.0.0.1", 80, CheckerSettings("http", path="//up", headers="X-Check:yes"))

    def answer(connection: socket.socket, came: bytes) -> None:
        seen.append(came)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with answering(answer) as port:
        assert bench.outcome(port, request=request) == "ok"
    assert seen == [b"GET /up HTTP/1.1\r\nX-Check: yes\r\nHost: 127.0.0.1:80\r\nConnection: close\r\n\r\n"]


def test_a_name_is_resolved_and_probed(bench: ProberBench) -> None:
    with listening() as server:
        port = server.getsockname()[1]
        found = bench.look(*(InstanceProbe(number, "localhost", port) for number in range(3)))
    assert {result.outcome for result in found.values()} == {"ok"}


def test_no_name_and_no_address_leads_out_of_the_allowed_networks() -> None:
    with probers(networks=["10.0.0.0/8"]) as bench, listening() as server:
        port = server.getsockname()[1]
        assert bench.outcome(port, "localhost") == "forbidden"
        assert bench.outcome(port, "127.0.0.1") == "forbidden"
        assert bench.outcome(port, "::ffff:127.0.0.1") == "forbidden"
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("code", "outcome"), [(socket.EAI_NONAME, "error"), (socket.EAI_FAIL, "error"), (socket.EAI_AGAIN, "void")]
)
def test_a_name_that_stands_for_nothing_is_an_error_and_no_answer_is_none(
    monkeypatch: pytest.MonkeyPatch, code: int, outcome: Outcome
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert resolve("db.internal", ()) == Found(outcome)


def test_what_is_no_name_is_an_error() -> None:
    assert resolve("a" * 64 + ".invalid", ()) == Found("error"), "no name has so long a label"


def test_a_name_server_that_does_not_answer_says_nothing_of_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    ask = socket.getaddrinfo

    def wait(host: str, *rest: Any, **more: Any) -> Any:
        answered.wait(20)
        return ask(host, *rest, **more)

    with probers(name_timeout_ms=100) as bench, listening() as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", wait)
        assert bench.outcome(port, "localhost") == "void"
        assert bench.outcome(port) == "ok", "addresses need no name server"
        answered.set()
        while bench.outcome(port, "localhost") == "void":
            continue
        assert bench.outcome(port, "localhost") == "ok", "an answer that comes late is of use to the next probe"


def test_a_probe_that_waits_for_a_name_ends_in_its_time_whatever_else_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def wait(*_: object, **__: object) -> Any:
        answered.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    with probers(name_timeout_ms=50, probe_timeout_ms=900) as bench, deaf_port() as deaf:
        found = bench.look(InstanceProbe(1, "127.0.0.1", deaf), InstanceProbe(2, "localhost", deaf))
        answered.set()
    assert [(number, result.outcome) for number, result in found.items()] == [(2, "void"), (1, "busy")]


def test_more_probes_than_connections_wait_their_turn() -> None:
    with probers(connections_max=2, probe_timeout_ms=50) as bench, deaf_port() as deaf, listening() as server:
        port = server.getsockname()[1]
        found = bench.look(*(InstanceProbe(number, "127.0.0.1", deaf if number % 2 else port) for number in range(20)))
    assert [found[number].outcome for number in range(20)] == ["ok", "busy"] * 10


def test_no_more_connections_are_open_than_allowed() -> None:
    with probers(connections_max=2, probe_timeout_ms=100) as bench, deaf_port() as deaf:
        began = time.monotonic()
        bench.look(*(InstanceProbe(number, "127.0.0.1", deaf) for number in range(6)))
        assert time.monotonic() - began >= 0.29, "two at a time, three times 100 ms"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (errno.EMFILE, "void"),
        (errno.EADDRNOTAVAIL, "void"),
        (errno.ETIMEDOUT, "busy"),
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "error"),
        (errno.EHOSTUNREACH, "error"),
    ],
)
def test_what_this_machine_cannot_do_says_nothing_of_an_instance(
    bench: ProberBench, monkeypatch: pytest.MonkeyPatch, code: int, outcome: Outcome
) -> None:
    trouble = OSError(code, "as the system says")

    def no_socket(*_: object) -> socket.socket:
        raise trouble

    monkeypatch.setattr("runtime.prober.socket.socket", no_socket)
    assert bench.outcome(9) == outcome


def test_a_connection_that_was_only_looked_at_is_reset_and_leaves_nothing_behind(bench: ProberBench) -> None:
    with listening() as server:
        assert bench.outcome(server.getsockname()[1]) == "ok"
        connection, _ = server.accept()
        connection.settimeout(10)
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_close_ends_the_thread_and_its_connections() -> None:
    with deaf_port() as port:
        with probers(probe_timeout_ms=60_000) as bench, listening() as server:
            bench.prober.put(ProbesOrdered((InstanceProbe(7, "127.0.0.1", port),)))
            assert bench.outcome(server.getsockname()[1]) == "ok", "by now the silent one has its connection"
        assert not bench.prober._thread.is_alive()
