"""The nodes of a round: each in its namespace, its data on a small disk of its own, its wall clock in our hands."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.chaos.clock_shim import ClockShim
from tests.chaos.world import Place, World, inside
from tests.support.real_cluster import RealNode

BASE_PORT = 8848
_DISK_BLOCK = bytes(4_096)


class ChaosNode(RealNode):
    """A node that can also lose its clock, its disk, its supervisor alone or its process alone."""

    def __init__(self, place: Place, world: World, shim: ClockShim | None) -> None:
        members = [f"{other.address}:{BASE_PORT}" for other in world.nodes]
        folder = world.folder / place.name
        options = ("--host", place.address, "--cluster-name", "chaos", "--data-directory", str(world.disk(place.name)))
        super().__init__(folder, BASE_PORT, members, options)
        self.name = place.name
        self.place = place
        self.client_address = f"{place.address}:{BASE_PORT + 2}"
        self.held = False  # a fault looks after it: nobody else starts it again
        self._closed = False
        self._shim = shim
        self._disk = world.folder / f"{place.name}-disk"
        self.launch_with(*inside(place.namespace, *(shim.prefix(place.name) if shim else [])))

    def start(self) -> None:
        if self._closed:
            raise RuntimeError(f"the round is over, {self.name} stays down")
        super().start()

    def close(self) -> None:
        """A fault that is still under way must not bring it back."""
        self._closed = True
        super().close()

    @property
    def runs(self) -> bool:
        return self._supervisor is not None

    def has_ended(self) -> bool:
        """By itself."""
        return self._supervisor is not None and self._supervisor.poll() is not None

    def ended(self) -> int | None:
        """The exit code of its supervisor if that has ended by itself; afterwards it can be started again."""
        return self._reap(0.1) if self.has_ended() else None

    def resident_kib(self) -> int | None:
        pid = self.process()
        if pid is None:
            return None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return None

    def shift_clock(self, offset_ms: int) -> None:
        assert self._shim is not None
        self._shim.shift(self.name, offset_ms)

    def fill_disk(self) -> None:
        with contextlib.suppress(OSError), (self._disk / "ballast").open("wb", buffering=0) as ballast:  # until full
            while True:
                ballast.write(_DISK_BLOCK)

    def free_disk(self) -> None:
        (self._disk / "ballast").unlink(missing_ok=True)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""
