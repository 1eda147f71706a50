"""``rollbook nodes``: ask every member what it holds, and say whether the cluster is whole.

One node names the members, then each member speaks for itself. The answers are not of one instant, so under load a node
may look behind that is not; a first look that finds somebody behind is therefore repeated for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from rollbook.cli.cluster_report import (
    ClusterReport,
    epoch_text,
    lag_text,
    make_report,
    report_json,
    short,
    sorted_members,
)
from rollbook.cli.convergence_line import convergence_line
from rollbook.cli.durable_lines import durable_lines
from rollbook.cli.options import JsonOption, ServerOption, TimeoutOption, common_options
from rollbook.cli.output import ExitCode, print_json, print_line, print_table
from rollbook.errors import ClusterUnreachable, RollbookError
from rollbook.status import NodeStatus
from rollbook.status_question import fetch_status

_SETTLE_SECONDS = 0.6  # a change is on every node within 50 ms; more than this is news
_POLL_SECONDS = 0.1
_ASKED_AT_ONCE_MAX = 16

WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="Wait until the cluster is whole and all agree.")
]
CountersOption = Annotated[bool, typer.Option("--counters", help="Show every counter of every node.")]


def nodes(
    context: typer.Context,
    counters: CountersOption = False,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 1.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Show every member: state, epoch, seq, records, sessions, lag to each peer, and whether all digests agree. Below
    it: where durable data is kept and who cannot follow it; how long changes took until every node had them, and until
    every subscriber had acknowledged them.

    Exit code 4 if a member does not answer, is not ready or preserves what it cannot judge, or if digests differ.
    """
    common = common_options(context, server, json)
    report = _look_until_settled(common.servers, timeout, wait)
    if common.json:
        print_json(report_json(report))
    else:
        _print_report(report, counters)
    settled = report.is_whole and (wait == 0.0 or report.verdict == "agree")
    return ExitCode.OK if settled else ExitCode.UNHEALTHY


def _look_until_settled(servers: Sequence[str], timeout: float, wait: float) -> ClusterReport:
    started = time.monotonic()
    while True:
        passed = time.monotonic() - started
        try:
            report = _look(servers, timeout)
        except ClusterUnreachable:
            if passed >= wait:
                raise
        else:
            is_settled = report.verdict == "agree" and (report.is_whole or wait == 0.0)
            if is_settled or passed >= max(wait, _SETTLE_SECONDS):
                return report
        time.sleep(_POLL_SECONDS)


def _look(servers: Sequence[str], timeout: float) -> ClusterReport:
    first = _first_answer(servers, timeout)
    addresses = [m.client_address for m in sorted_members(first) if m.state != "self" and m.client_address]
    with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE_MAX) as pool:
        answers = pool.map(lambda address: _answer_of(address, timeout), addresses)
        return make_report(first, dict(zip(addresses, answers, strict=True)))


def _first_answer(servers: Sequence[str], timeout: float) -> NodeStatus:
    reasons = []
    for server in servers:
        answer = _answer_of(server, timeout)
        if isinstance(answer, NodeStatus):
            return answer
        reasons.append(answer)
    raise ClusterUnreachable(f"no node answered at {', '.join(servers)} ({reasons[-1]})")


def _answer_of(server: str, timeout: float) -> NodeStatus | str:
    try:
        return fetch_status(server, timeout)
    except RollbookError as error:
        return error.message


def _print_report(report: ClusterReport, counters: bool) -> None:
    rows = []
    for line in report.lines:
        status = line.status
        figures = [""] * 4 if status is None else _figures(status)
        rows.append(
            [str(line.number), line.address, short(line.node_id), line.state, *figures, lag_text(line, report.lines)]
        )
    columns = ["#", "clients", "node", "state", "epoch", "seq", "records", "sessions", "lag to peers"]
    print_table(columns, rows, right=["seq", "records", "sessions"])
    for line in report.lines:
        if line.error:
            print_line(f"{line.address} does not answer: {line.error}")
        if line.status is not None and line.status.preserved:
            print_line(f"{line.address} hides nothing: more than half of the members look dead to it")
    print_line(_verdict_text(report))
    for sentence in durable_lines(report.lines):
        print_line(sentence)
    changes = convergence_line(report.answers)
    if changes:
        print_line(changes)
    for finding in report.findings:
        print_line(f"  of {short(finding.owner)}, epoch {epoch_text(finding.epoch)}: {finding.text}")
    if counters:
        _print_counters(report)


def _figures(status: NodeStatus) -> list[str]:
    return [epoch_text(status.epoch), str(status.seq), str(status.records), str(status.sessions)]


def _verdict_text(report: ClusterReport) -> str:
    answered = len(report.answers)
    match report.verdict:
        case "agree":
            return f"digests: all agree ({answered} of {len(report.lines)} nodes compared)"
        case "behind":
            return "digests: agree as far as they can be compared; not everyone has everything yet"
        case "differ":
            return "digests: DIFFER at equal watermarks; a full pull repairs this within seconds, and the log says what"


def _print_counters(report: ClusterReport) -> None:
    present = [line for line in report.lines if line.status is not None]
    names = sorted({name for status in report.answers for name in status.counters})
    rows = [[name, *(str(status.counters.get(name, 0)) for status in report.answers)] for name in names]
    columns = ["counter", *(f"{line.number}: {line.address}" for line in present)]
    print_table(columns, rows, right=columns[1:])
