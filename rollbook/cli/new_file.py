"""A file that is there when it is whole, and not before: written beside its place under another name, then moved."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rollbook.errors import InvalidField, RollbookError

_ENDING = (signal.SIGINT, signal.SIGTERM)
_LOOK_SECONDS = 0.05
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """For its owner alone (0600), and on the disk when the block ends well; else nothing is left of it. InvalidField
    says why it cannot be, and nothing is overwritten without ``force``."""
    _check_place(path, force=force)
    temporary = path.parent / f".rollbook-{secrets.token_hex(8)}.part"
    try:
        with _removed_in_the_end(temporary), _opened(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _put_in_place(temporary, path, force=force)
    except RollbookError:  # some are errors of connections, and so of the system
        raise
    except OSError as error:
        raise unusable_file("write", path, error) from None


def unusable_file(verb: str, path: Path, error: OSError) -> InvalidField:
    return InvalidField(f"cannot {verb} {path}: {error.strerror or error}", field="FILE")


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


@contextlib.contextmanager
def _removed_in_the_end(path: Path) -> Iterator[None]:
    """Also when the command is interrupted or told to end, which ends it as it would any other.

    A handler would not do: it waits for the main thread, which one that begins to wait at that moment does not leave.
    """
    # A shell starts what runs in the background with Ctrl-C ignored; that is its decision.
    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    is_over = threading.Event()
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, heard)  # threads that begin from here on have it too
    listener = threading.Thread(target=_listen, args=(heard, is_over, path), daemon=True)
    listener.start()
    try:
        yield
    finally:
        is_over.set()
        listener.join()
        path.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _listen(heard: list[signal.Signals], is_over: threading.Event, path: Path) -> None:
    """What comes after the end stays pending, and has its effect when it is let through again."""
    while not is_over.is_set():
        if (come := signal.sigtimedwait(heard, _LOOK_SECONDS)) is not None:
            path.unlink(missing_ok=True)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
            os.kill(os.getpid(), come.si_signo)


def _check_place(path: Path, *, force: bool) -> None:
    if not os.path.lexists(path):
        return
    if not force:
        raise InvalidField(f"{path} is there already; --force overwrites it", field="FILE")
    if not path.is_file():
        raise InvalidField(f"{path} is there already, and is no plain file", field="FILE")


def _put_in_place(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        os.replace(temporary, path)
    else:
        _link(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _link(temporary: Path, path: Path) -> None:
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
