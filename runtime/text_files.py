"""Files that people write: UTF-8, and no longer than people write. What is wrong with one is said in one line."""

from __future__ import annotations

from pathlib import Path

from rollbook.errors import SettingsError

FILE_BYTES_MAX = 64 * 1024  # all members that a node can have, with a comment each; a log named by mistake is more
SHOWN_LENGTH_MAX = 253


def read_text_file(path: Path, what: str = "") -> str:
    """Its text; SettingsError says why there is none. ``what`` stands before the path: "the members file "."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise SettingsError(f"cannot read {what}{shown(path)}: it is longer than {FILE_BYTES_MAX} bytes")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8, or a path that can be none
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"cannot read {what}{shown(path)}: {reason}") from None


def shown(written: object) -> str:
    """What somebody wrote, as part of one line: escaped where it would break the line, cut where it has no end."""
    text = str(written)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}..."
