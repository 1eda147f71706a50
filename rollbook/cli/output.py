"""How every command speaks: exit codes, JSON, tables, errors in one line, and text that is safe to print."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rollbook.durable import Intent, decisions_of
from rollbook.errors import ClusterUnreachable, InvalidField, RollbookError, SettingsError
from rollbook.model import Instance

_WIDTH_OF_A_FILE = 250  # a table that nobody looks at live must not be folded at 80
_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))  # in seconds


class ExitCode(IntEnum):
    """What a command's exit says; docs/operations.md and ``rollbook --help`` list the same."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNHEALTHY = 4
    DEFECT = 70
    INTERRUPTED = 130


EXIT_CODES_HELP = (
    "Exit codes: 0 done; 1 refused, or nothing found; 2 wrong usage or configuration; 3 no node could be reached; "
    "4 the cluster answers, but is not whole (nodes); 70 a defect of rollbook; 130 interrupted."
)


def exit_code_of(error: RollbookError) -> ExitCode:
    """Which exit an error leads to."""
    match error:
        case SettingsError() | InvalidField():
            return ExitCode.USAGE
        case ClusterUnreachable():
            return ExitCode.UNREACHABLE
    return ExitCode.REFUSED


def say_error(message: str, code: int) -> None:
    """One line on stderr, whatever the message holds."""
    print(f"error: {plain(' '.join(message.split()))} (code {int(code)})", file=sys.stderr, flush=True)


def say_note(message: str) -> None:
    """Something for people, beside the result: on stderr, so that it never mixes with it."""
    print(plain(message), file=sys.stderr, flush=True)


def print_json(value: dict[str, Any]) -> None:
    """One object, one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_line(text: str) -> None:
    print(plain(text), flush=True)


def print_event(event: str, text: str, facts: dict[str, Any], *, as_json: bool) -> None:
    """What a command has brought about."""
    if as_json:
        print_json({"time": moment_text(), "event": event, **facts})
    else:
        print_line(f"{clock_text()} {event} {text}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table; the columns named in ``right`` hold numbers."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    console.print(table)


def plain(text: str) -> str:
    """Show control characters instead of obeying them: names and metadata come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clock_text() -> str:
    """The local time of day with milliseconds, for people."""
    return datetime.now().strftime("%H:%M:%S.%f")[:-3]


def moment_text() -> str:
    """The moment in full, for programs."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def time_text(wall_ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment that a node wrote down, for people. What is no moment of a calendar costs nobody the rest."""
    try:
        return datetime.fromtimestamp(wall_ms / 1_000).strftime(form)
    except (ValueError, OverflowError, OSError):
        return f"{wall_ms} ms"


def wall_ms() -> int:
    """The moment as nodes write it."""
    return int(datetime.now().timestamp() * 1_000)


def duration_text(duration_ms: int) -> str:
    """How long, in the two largest units that say something: ``12 s``, ``3 min 5 s``, ``2 h 40 min``, ``9 d 1 h``."""
    seconds = duration_ms // 1_000
    for size, unit, smaller_size, smaller_unit in _UNITS:
        if seconds >= size:
            rest = seconds % size // smaller_size
            return f"{seconds // size} {unit} {rest} {smaller_unit}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s"


def show_client_log(level: Literal["INFO", "ERROR"]) -> None:
    """What the SDK logs goes to stderr, as lines like ours."""
    logger = logging.getLogger("rollbook")
    logger.setLevel(level)
    logger.propagate = False
    logger.handlers = [_NoteHandler()]


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say_note(f"{clock_text()} {record.getMessage()}")


def instance_json(instance: Instance) -> dict[str, Any]:
    return {
        "ip": instance.ip,
        "port": instance.port,
        "cluster": instance.cluster,
        "weight": instance.weight,
        "healthy": instance.healthy,
        "enabled": instance.enabled,
        "ephemeral": instance.ephemeral,
        "metadata": instance.metadata,
    }


def metadata_text(metadata: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(metadata.items()))


def address_text(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def instance_text(instance: Instance) -> str:
    """One instance in one line; what is as usual is not said."""
    parts = [address_text(instance.ip, instance.port)]
    if instance.cluster != "DEFAULT":
        parts.append(f"cluster {instance.cluster}")
    if instance.weight != 1.0:
        parts.append(f"weight {instance.weight:g}")
    parts += ["persistent"] if not instance.ephemeral else []
    parts += ["unhealthy"] if not instance.healthy else []
    parts += ["disabled"] if not instance.enabled else []
    if instance.metadata:
        parts.append(metadata_text(instance.metadata))
    return "  ".join(parts)


def intent_json(intent: Intent) -> dict[str, Any]:
    """What it says, and nothing else."""
    return {field: getattr(decision, field) for field, decision in decisions_of(intent).items()}


def intent_text(intent: Intent) -> str:
    """What an operator wants, in one line; what is as published is not said."""
    parts = [] if intent.enabled is None else ["enabled" if intent.enabled else "disabled"]
    parts += [] if intent.weight is None else [f"weight {intent.weight:g}"]
    parts += [metadata_text(intent.metadata)] if intent.metadata else []
    return "  ".join(parts)
