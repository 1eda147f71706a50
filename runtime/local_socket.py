"""Where a node and its gateways meet on one machine: a unix socket file in the node's data directory.

Nobody but the user of the node may open it. Whoever has the data directory may replace what an earlier life left there.
"""

from __future__ import annotations

import os
from pathlib import Path

from rollbook.errors import SettingsError

FILE_NAME = "gateway.socket"
PATH_BYTES_MAX = 100  # Linux takes 107, others 103
_DESCRIPTORS = Path("/proc/self/fd")


class LocalSocket:
    """Open it for as long as the endpoint is used, on either side."""

    def __init__(self, directory: Path) -> None:
        self._path = directory.absolute() / FILE_NAME
        self._descriptor: int | None = None
        if len(os.fsencode(self._path)) <= PATH_BYTES_MAX:
            self.endpoint = f"ipc://{self._path}"
            return
        if not _DESCRIPTORS.exists():
            sentence = f"node.data_directory is too long for a socket file: {FILE_NAME} in it has a path of more than"
            advice = "choose a shorter one, or set gateway.enabled to false"
            raise SettingsError(f"{sentence} {PATH_BYTES_MAX} bytes; {advice}", field="node.data_directory")
        # A name for the directory that is always short. Only this process can use it, so each side has its own.
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self.endpoint = f"ipc://{_DESCRIPTORS / str(self._descriptor) / FILE_NAME}"

    def remove(self) -> None:
        """Nobody listens there any more."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
