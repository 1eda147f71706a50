"""Run the fuzzer, count, and write down what was run: scripts/fuzz.sh is its front door.

One worker process a target, one after the other, on one core. Each run of a target adds a line to docs/fuzzing.jsonl;
executions are those that libFuzzer counted. What breaks a promise lies in var/fuzz/findings afterwards, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.corpus import CORPUS, inputs_in, keep
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS
from tests.support.running_total import ROOT, keep_total

WORK = ROOT / "var" / "fuzz"
HISTORY = ROOT / "docs" / "fuzzing.jsonl"
EXECUTIONS_DEFAULT = 200_000
MEMORY_MIB_MAX = 1_024  # of a worker, its own corpus and coverage included
HANG_S = 10  # the worker measures the budget of 50 ms; this ends what never comes back
_EXECUTED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)


class Outcome(NamedTuple):
    """What one worker came to."""

    executions: int
    seconds: float
    findings: list[Path]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz.sh", description="Fuzz the readers of wire and files.")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="may be repeated; default: all")
    parser.add_argument(
        "--executions", type=_count, default=EXECUTIONS_DEFAULT, help="in all, shared among the targets"
    )
    parser.add_argument("--minutes", type=_duration, default=0.0, help="at most, in all; 0: as long as it takes")
    parser.add_argument("--keep", action="store_true", help="renew tests/fuzz/corpus from what was found")
    options = parser.parse_args(arguments)
    targets = options.target or list(TARGETS)
    shares = sum(TARGETS[target].share for target in targets)
    findings: list[Path] = []
    for target in targets:
        part = TARGETS[target].share / shares
        outcome = _fuzz(target, max(1, round(options.executions * part)), options.minutes * 60 * part)
        kept = keep(target, WORK / "corpus" / target) if options.keep else len(inputs_in(CORPUS / target))
        _write_down(target, outcome, kept)
        findings += outcome.findings
    for path in findings:
        print(f"finding: {path.relative_to(ROOT)}")
    return 1 if findings else 0


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _duration(text: str) -> float:
    if not (value := float(text)) >= 0:
        raise argparse.ArgumentTypeError("0 or more")
    return value


def _fuzz(target: str, executions: int, seconds_max: float) -> Outcome:
    found, findings = WORK / "corpus" / target, WORK / "findings" / target
    for directory in (found, findings, CORPUS / target):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds_of(target)):
        (found / f"seed-{number}").write_bytes(seed)
    before = {path: path.stat().st_mtime_ns for path in inputs_in(findings)}
    command = [sys.executable, "-m", "tests.fuzz.worker", target, str(findings), *_options(target, executions)]
    command += [f"-max_total_time={max(1, round(seconds_max))}"] if seconds_max else []
    command += [f"-artifact_prefix={findings}/", str(found), str(CORPUS / target)]
    log = WORK / f"{target}.log"
    began_s = time.monotonic()
    # libFuzzer ends a worker without its exit handlers, so what it put aside is removed here.
    with log.open("w", encoding="utf-8") as output, tempfile.TemporaryDirectory(prefix="rollbook-fuzz-") as scratch:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": scratch},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    seconds = time.monotonic() - began_s
    said = log.read_text(encoding="utf-8", errors="replace")
    counted = _EXECUTED.search(said)
    new = [path for path in inputs_in(findings) if before.get(path) != path.stat().st_mtime_ns]
    if counted is None or (ended.returncode and not new):
        sys.exit(f"the worker of {target} ended with {ended.returncode}; what it said: {log.relative_to(ROOT)}")
    return Outcome(int(counted.group(1)), seconds, [path for path in new if path.suffix != ".txt"])


def _options(target: str, executions: int) -> list[str]:
    return [
        f"-runs={executions}",
        f"-max_len={TARGETS[target].input_bytes_max}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        "-print_final_stats=1",
    ]


def _write_down(target: str, outcome: Outcome, kept: int) -> None:
    facts = {
        "target": target,
        "executions": outcome.executions,
        "seconds": round(outcome.seconds, 1),
        "corpus": len(inputs_in(WORK / "corpus" / target)),
        "kept": kept,
        "findings": len(outcome.findings),
        "python": platform.python_version(),
        "atheris": version("atheris"),
    }
    keep_total(HISTORY, facts)
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; this target is not written down", file=sys.stderr)
        sys.exit(130)
