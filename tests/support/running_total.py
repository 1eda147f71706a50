"""Totals that are kept in docs/: one JSON object a line, written by the tool that ran and never by hand."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def keep_total(path: Path, facts: dict[str, Any]) -> None:
    """Append one run, with its day and the commit that ran."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"date": today, "commit": commit_here(), **facts}) + "\n")


def commit_here() -> str:
    """What was run; a plus sign says that the tree held changes beyond it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"
