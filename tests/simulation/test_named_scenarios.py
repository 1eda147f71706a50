"""Every failure of the table D1 to D28 has a test of its own name. (D29 to D31 are of persistent data.)"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
NUMBERS = range(1, 29)
_NAMED = re.compile(r"^def test_d(\d+)_", re.MULTILINE)


def test_every_failure_of_the_table_has_a_named_test() -> None:
    named = {int(number) for path in TESTS.rglob("test_*.py") for number in _NAMED.findall(path.read_text())}
    missing = [f"D{number}" for number in NUMBERS if number not in named]
    assert not missing, f"no test is named after {', '.join(missing)}"
