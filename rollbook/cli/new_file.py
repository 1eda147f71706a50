"""A file that is there when it is whole, and not before: written beside its place under another name, then moved."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rollbook.errors import InvalidField, RollbookError

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """For its owner alone (0600), and on the disk when the block ends well; else nothing is left of it. InvalidField
    says why it cannot be, and nothing is overwritten without ``force``."""
    _check_place(path, force=force)
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".rollbook-", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(temporary, path, force=force)
    except RollbookError:  # some are errors of connections, and so of the system
        raise
    except OSError as error:
        raise unusable_file("write", path, error) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def unusable_file(verb: str, path: Path, error: OSError) -> InvalidField:
    return InvalidField(f"cannot {verb} {path}: {error.strerror or error}", field="FILE")


def _check_place(path: Path, *, force: bool) -> None:
    if not os.path.lexists(path):
        return
    if not force:
        raise InvalidField(f"{path} is there already; --force overwrites it", field="FILE")
    if not path.is_file():
        raise InvalidField(f"{path} is there already, and is no plain file", field="FILE")


def _put_in_place(temporary: str, path: Path, *, force: bool) -> None:
    if force:
        os.replace(temporary, path)
    else:
        _link(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _link(temporary: str, path: Path) -> None:
    """Unlike a rename it fails where somebody else has put a file meanwhile."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise InvalidField(f"{path} has come there meanwhile; --force overwrites it", field="FILE") from None
        if error.errno not in _NO_LINKS:
            raise
        _check_place(path, force=False)
        os.rename(temporary, path)
