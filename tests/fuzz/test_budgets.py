"""The largest inputs that a reader takes: what one costs is bounded, whatever it holds."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from actors.peer_frames import PEER_LIMITS, decode_peer
from actors.records import read_record
from rollbook.codec import SMALL_FRAME_BYTES_MAX, UNCOUNTED_FRAME_BYTES_MAX, UnpackLimits, unpack
from rollbook.errors import RollbookError
from rollbook.wire import ANSWER_LIMITS, FRAME_BYTES_MAX, LIMITS, RECORD_BYTES_MAX, open_envelope, request_body
from runtime.text_files import FILE_BYTES_MAX
from tests.fuzz.targets import CPU_MS_MAX, ORIGIN, check_members_file, check_settings

MEMORY_BYTES_MAX = 32 * 1024 * 1024
SETTINGS_CPU_MS_MAX = 2_000  # read once, before anything runs; one key of 30,000 dots takes tomllib 0.6 s
ANSWER_MEMORY_BYTES_MAX = 64 * 1024 * 1024  # 16 MiB of instances that an application asked for take more than that

Read = Callable[[bytes], object]


def read_client_frame(data: bytes) -> object:
    return request_body(open_envelope(data))


def read_record_body(data: bytes) -> object:
    return read_record(ORIGIN, data)


READERS: list[tuple[Read, bytes, int, int]] = [
    (read_client_frame, b"\x95\x01\x03\x07\x05", FRAME_BYTES_MAX, LIMITS.array_length_max),
    (decode_peer, b"\x93\x01\x06", PEER_LIMITS.frame_bytes_max, PEER_LIMITS.array_length_max),
    (read_record_body, b"", RECORD_BYTES_MAX, 4_096),
]
# One byte each here; arrays and maps take 70 bytes in memory, a number that no small integer is 36.
ITEMS = {"empty maps": b"\x80", "empty arrays": b"\x90", "numbers": b"\xe0", "nothing": b"\xc0"}
PROMISES = {"of arrays": b"\xdd\x00\x00\x10\x00", "of as many as allowed": b"", "of maps": b"\xdf\x00\x00\x04\x00"}


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """A node collects seldom; here, what is collected is what other tests left."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def filled(item: bytes, size: int, array_length: int) -> bytes:
    """Arrays of this item, as many as fit."""
    inner = b"\xdd" + array_length.to_bytes(4, "big") + item * array_length
    count = max(1, (size - 5) // len(inner))
    return (b"\xdd" + count.to_bytes(4, "big") + inner * count)[:size]


BUSY_FACTOR = 4  # budgets are of an idle core; one that is shared does less in the same CPU time


def cost_of(read: Read, data: bytes) -> tuple[float, int]:
    """CPU time in ms, the best of three, and the peak of memory in bytes; the input may be refused, but only so."""
    times_ms = []
    for _ in range(3):
        began_ns = time.thread_time_ns()
        outcome_of(read, data)
        times_ms.append((time.thread_time_ns() - began_ns) / 1e6)
    tracemalloc.start()
    try:
        outcome_of(read, data)
        return min(times_ms), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def outcome_of(read: Read, data: bytes) -> object:
    try:
        return read(data)
    except RollbookError as error:
        return error


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize(("read", "head", "size", "array_length"), READERS)
def test_the_largest_frame_of_the_smallest_items_stays_within_the_budget(
    read: Read, head: bytes, size: int, array_length: int, item: str
) -> None:
    data = head + filled(ITEMS[item], size - len(head), min(array_length, size - 100))
    assert size - array_length - 100 <= len(data) <= size
    cpu_ms, memory_bytes = cost_of(read, data)
    assert cpu_ms <= BUSY_FACTOR * CPU_MS_MAX
    assert memory_bytes <= MEMORY_BYTES_MAX


@pytest.mark.parametrize("limits", [LIMITS, PEER_LIMITS, ANSWER_LIMITS])
@pytest.mark.parametrize("promise", PROMISES)
def test_a_short_frame_that_promises_much_at_each_level_costs_nothing(limits: UnpackLimits, promise: str) -> None:
    header = PROMISES[promise] or b"\xdd" + limits.array_length_max.to_bytes(4, "big")
    for data in (header * 1_000, b"\x91" * 500 + header * 500):
        cpu_ms, memory_bytes = cost_of(lambda data: unpack(data, limits), data)
        assert cpu_ms <= BUSY_FACTOR * 2
        assert memory_bytes <= 100_000


@pytest.mark.parametrize("limits", [LIMITS, PEER_LIMITS, ANSWER_LIMITS])
def test_a_frame_too_short_to_be_skipped_through_first_cannot_promise_much(limits: UnpackLimits) -> None:
    data = (b"\xdc" + SMALL_FRAME_BYTES_MAX.to_bytes(2, "big")) * (SMALL_FRAME_BYTES_MAX // 3)
    cpu_ms, memory_bytes = cost_of(lambda data: unpack(data, limits), data)
    assert cpu_ms <= BUSY_FACTOR * 5
    assert memory_bytes <= 3 * 1024 * 1024


@pytest.mark.parametrize("item", ["empty maps", "empty arrays"])
def test_the_longest_answer_of_empty_containers_is_refused_before_it_fills_the_memory(item: str) -> None:
    data = filled(ITEMS[item], ANSWER_LIMITS.frame_bytes_max, ANSWER_LIMITS.array_length_max)
    _, memory_bytes = cost_of(lambda data: unpack(data, ANSWER_LIMITS), data)
    assert memory_bytes <= ANSWER_MEMORY_BYTES_MAX


@pytest.mark.parametrize("limits", [LIMITS, PEER_LIMITS, ANSWER_LIMITS])
def test_containers_are_counted_in_large_frames_only_and_as_many_as_allowed_are_read(limits: UnpackLimits) -> None:
    allowed = limits._replace(containers_max=100)
    small = b"\xdc\x0f\xff" + b"\x90" * 4_095
    assert len(unpack(small, allowed)) == 4_095
    padding = b"\xc6" + UNCOUNTED_FRAME_BYTES_MAX.to_bytes(4, "big") + bytes(UNCOUNTED_FRAME_BYTES_MAX)
    assert len(unpack(b"\xdc\x00\x64" + padding + b"\x90" * 99, allowed)) == 100
    with pytest.raises(RollbookError, match="more than 100 arrays and maps"):
        unpack(b"\xdc\x00\x65" + padding + b"\x90" * 100, allowed)


LARGE_TEXTS = {
    "nothing but lines": b"\n" * FILE_BYTES_MAX,
    "the shortest names": b"a\n" * (FILE_BYTES_MAX // 2),
    "one long name": b"a" * FILE_BYTES_MAX,
    "one long comment": b"#" * FILE_BYTES_MAX,
    "dots": b"a." * (FILE_BYTES_MAX // 2),
    "brackets": b"[" * FILE_BYTES_MAX,
    "an array of arrays": b"a = " + b"[" * FILE_BYTES_MAX,
    "an open text": b'a = """' + b"\\" * FILE_BYTES_MAX,
    "digits": b"a = " + b"1" * FILE_BYTES_MAX,
    "more than is read": b"#" * (FILE_BYTES_MAX + 1),
}


@pytest.mark.parametrize("kind", LARGE_TEXTS)
@pytest.mark.parametrize(
    ("read", "cpu_ms_max"), [(check_settings, SETTINGS_CPU_MS_MAX), (check_members_file, CPU_MS_MAX)]
)
def test_the_largest_file_stays_within_the_budget(read: Read, cpu_ms_max: int, kind: str) -> None:
    cpu_ms, memory_bytes = cost_of(read, LARGE_TEXTS[kind][: FILE_BYTES_MAX + 1])
    assert cpu_ms <= BUSY_FACTOR * cpu_ms_max
    assert memory_bytes <= MEMORY_BYTES_MAX
