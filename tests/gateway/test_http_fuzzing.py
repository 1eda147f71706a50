"""Strangers who have read docs/openapi.json: whatever they make of it, every answer is one that is described there, and
none is the server's fault."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documented import DOCUMENT
from tests.support.http_gateway import HttpNode

pytestmark = pytest.mark.cluster

SETTINGS = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = 4  # of each call; some stand for several
SECONDS_MAX = 110  # on a machine that is busy otherwise


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[HttpNode]:
    """Whoever tries everything turns switches too."""
    node = HttpNode(tmp_path / "node")
    try:
        node.until_ready()
        yield node
    finally:
        node.close()


@pytest.mark.timeout(2 * SECONDS_MAX)
def test_no_request_that_follows_the_document_or_nearly_so_gets_an_answer_that_does_not(
    own_node: HttpNode, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run", str(DOCUMENT)]
    command += ["--url", f"http://127.0.0.1:{own_node.base_port}/nacos", "--phases", "fuzzing"]
    command += ["--max-examples", str(EXAMPLES), "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if done.returncode:
        pytest.fail(done.stdout[-20_000:] + done.stderr[-2_000:], pytrace=False)
    passed = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 500
