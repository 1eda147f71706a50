"""What survives a power failure, and that the rules of runtime/node_store.py need no luck."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from runtime.node_store import IdentityStore, StoreUnusable
from runtime.simulation.disk import SimDisk

WALL_MS = 1_800_000_000_000
CHANCES = range(40)


class PowerLost(Exception):
    pass


def after_power_loss(use: Callable[[SimDisk], None], read: str) -> set[str | None]:
    """Everything that may be read after the power went, over many chances."""
    found = set()
    for chance in CHANCES:
        disk = SimDisk(random.Random(chance))
        use(disk)
        disk.lose_power()
        found.add(disk.read(read))
    return found


def store_on(disk: SimDisk) -> IdentityStore:
    return IdentityStore(disk, "n0", lambda: "0123456789abcdef", re.compile(r"[0-9a-f]{16}"))


def test_what_is_written_but_not_synced_may_be_whole_empty_or_gone() -> None:
    assert after_power_loss(lambda disk: disk.write("a", "text"), "a") == {None, "", "text"}


def test_a_synced_file_in_an_unsynced_directory_may_be_gone_but_never_broken() -> None:
    def use(disk: SimDisk) -> None:
        disk.write("a", "text")
        disk.sync("a")

    assert after_power_loss(use, "a") == {None, "text"}


def test_what_is_synced_with_its_directory_is_sure() -> None:
    def use(disk: SimDisk) -> None:
        disk.write("a", "text")
        disk.sync("a")
        disk.sync_directory()

    assert after_power_loss(use, "a") == {"text"}


def test_a_rename_replaces_and_is_sure_only_with_the_directory() -> None:
    def use(disk: SimDisk) -> None:
        for name, text in (("a", "old"), ("b", "new")):
            disk.write(name, text)
            disk.sync(name)
        disk.sync_directory()
        disk.rename("b", "a")
        assert (disk.read("a"), disk.read("b")) == ("new", None)

    assert after_power_loss(use, "a") == {"old", "new"}


STEPS_OF_ONE_WRITE = [
    *("before_write", "before_fsync", "after_fsync"),
    *("before_rename", "after_rename", "after_directory_fsync"),
]


@pytest.mark.parametrize("fatal", STEPS_OF_ONE_WRITE)
def test_whenever_the_power_goes_the_next_life_has_a_higher_epoch_than_any_that_was_used(fatal: str) -> None:
    def fail(step: str) -> None:
        if step == fatal:
            raise PowerLost

    for chance in CHANCES:
        disk = SimDisk(random.Random(chance))
        used = store_on(disk).next_epoch(WALL_MS, 9)
        disk.on_step = fail
        with pytest.raises(PowerLost):
            store_on(disk).next_epoch(WALL_MS, 9)
        disk.lose_power()
        disk.on_step = lambda _: None
        assert store_on(disk).next_epoch(WALL_MS - 60_000, 0) > used


def test_on_a_disk_that_lies_about_syncing_an_epoch_can_come_twice() -> None:
    seen = set()
    for chance in CHANCES:
        disk = SimDisk(random.Random(chance))
        disk.honours_sync = False
        used = store_on(disk).next_epoch(WALL_MS, 9)
        disk.lose_power()
        try:
            seen.add(store_on(disk).next_epoch(WALL_MS, 9) == used)
        except StoreUnusable:
            seen.add(False)  # an empty file is noticed
    assert True in seen
