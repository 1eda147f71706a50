"""The disk of a simulated machine: what is written is there for every process; after a power failure, if it was synced.

Files and the directory are synced separately, as POSIX has it. What was not synced when the power went may be on the
disk or not, file by file and, for the directory, up to any step: chance decides, so a discipline that needs luck fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class _File:
    """What processes read, and what the disk surely holds."""

    def __init__(self) -> None:
        self.text = ""
        self.synced = ""

    def lose_power(self, chance: random.Random) -> None:
        if self.text != self.synced:
            self.text = self.synced = chance.choice((self.synced, "", self.text))


class SimDisk:
    """One data directory; the port that runtime/node_store.py writes through."""

    def __init__(self, chance: random.Random) -> None:
        self.honours_sync = True  # False: syncing is a lie, as on some disks
        self.on_step: Callable[[str], None] = lambda _: None  # told before and after everything that can be half done
        self._chance = chance
        self._files: dict[str, _File] = {}
        self._synced: dict[str, _File] = {}  # the directory as the disk surely holds it
        self._since: list[dict[str, _File]] = []  # the directory after each change since then

    def read(self, name: str) -> str | None:
        file = self._files.get(name)
        return None if file is None else file.text

    def write(self, name: str, text: str) -> None:
        self.on_step("before_write")
        if name not in self._files:
            self._files = {**self._files, name: _File()}
            self._since.append(self._files)
        self._files[name].text = text
        self.on_step("before_fsync")

    def sync(self, name: str) -> None:
        if self.honours_sync:
            self._files[name].synced = self._files[name].text
        self.on_step("after_fsync")

    def rename(self, name: str, new_name: str) -> None:
        self.on_step("before_rename")
        files = dict(self._files)
        files[new_name] = files.pop(name)
        self._files = files
        self._since.append(files)
        self.on_step("after_rename")

    def sync_directory(self) -> None:
        if self.honours_sync:
            self._synced = self._files
            self._since.clear()
        self.on_step("after_directory_fsync")

    def lose_power(self) -> None:
        """Only what was synced is sure; of the rest, chance keeps what it likes."""
        self._files = self._synced = self._chance.choice([self._synced, *self._since])
        self._since.clear()
        for file in self._files.values():
            file.lose_power(self._chance)
