"""A wall clock that can be shifted while its process runs: a small C library, preloaded into a node, that reads its
offset from a file.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("wall_clock.c")
_NS = 1_000_000


class ClockShim:
    """The library, built once for a round; each node has a file of its own for its offset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "wall_clock.so"
        compiler = shutil.which("cc")
        assert compiler is not None, "ask is_possible first"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(self._library), str(_SOURCE), "-ldl"],
            check=True,
            capture_output=True,
        )

    @staticmethod
    def is_possible() -> bool:
        return shutil.which("cc") is not None

    def prefix(self, name: str) -> list[str]:
        """What to put before the command whose clock goes by this name."""
        self.shift(name, 0)
        return ["env", f"LD_PRELOAD={self._library}", f"ROLLBOOK_CHAOS_CLOCK={self._file(name)}"]

    def shift(self, name: str, offset_ms: int) -> None:
        """From now on its wall clock differs by this much."""
        mode = "r+b" if self._file(name).exists() else "w+b"  # never a moment without its eight bytes
        with self._file(name).open(mode) as file:
            file.write((offset_ms * _NS).to_bytes(8, "little", signed=True))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.clock"
