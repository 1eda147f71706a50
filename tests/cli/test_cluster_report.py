"""What ``rollbook nodes`` makes of the answers of several nodes."""

from __future__ import annotations

import json

from rollbook.cli.cluster_report import ClusterReport, epoch_text, lag_text, make_report, report_json
from rollbook.status import MemberStatus, NodeStatus, OwnerStatus

EPOCHS = {"a": 1, "b": 2, "c": 3}


def address(node: str) -> str:
    return f"10.0.0.{EPOCHS[node]}:8850"


def member(node: str, state: str = "alive", lag: int = 0) -> MemberStatus:
    return MemberStatus(node, f"10.0.0.{EPOCHS[node]}:8851", address(node), state, True, EPOCHS[node], 10, lag)


def owned(node: str, applied: int = 5, digest: int = 77, records: int = 2) -> OwnerStatus:
    return OwnerStatus(node, EPOCHS[node], applied, records, digest)


def status(
    node: str,
    *owners: OwnerStatus,
    ready: bool = True,
    preserved: bool = False,
    lags: dict[str, int] | None = None,
    states: dict[str, str] | None = None,
) -> NodeStatus:
    members = tuple(
        member(other, "self" if other == node else (states or {}).get(other, "alive"), (lags or {}).get(other, 0))
        for other in EPOCHS
    )
    standing = "ready" if ready else "loading"
    return NodeStatus(node, EPOCHS[node], 5, ready, standing, preserved, 1, 2, members, owners, {"push_retries": 3})


def report(*answers: NodeStatus) -> ClusterReport:
    first, *others = answers
    return make_report(first, {address(answer.node_id): answer for answer in others})


def test_nodes_that_hold_the_same_agree() -> None:
    found = report(*(status(node, owned("a"), owned("b")) for node in "abc"))
    assert found.verdict == "agree"
    assert found.is_whole
    assert found.findings == ()


def test_a_different_digest_at_the_same_watermark_is_a_difference_and_names_the_nodes() -> None:
    found = report(status("a", owned("a")), status("b", owned("a", digest=78)), status("c", owned("a")))
    assert found.verdict == "differ"
    assert not found.is_whole
    assert [finding.owner for finding in found.findings] == ["a"]
    assert "a holds 000000000000004d, b holds 000000000000004e" in found.findings[0].text


def test_a_different_digest_at_another_watermark_only_means_that_somebody_is_behind() -> None:
    found = report(status("a", owned("a")), status("b", owned("a", applied=3, digest=78)), status("c", owned("a")))
    assert found.verdict == "behind"
    assert found.is_whole
    assert found.findings[0].text == "b has applied 3 of 5 changes"


def test_the_same_owner_in_another_epoch_is_another_thing() -> None:
    earlier = OwnerStatus("a", 9, 5, 0, 0)
    found = report(status("a", owned("a")), status("b", owned("a"), earlier), status("c", owned("a")))
    assert found.verdict == "agree"


def test_a_node_that_knows_nothing_of_live_records_is_behind() -> None:
    found = report(status("a", owned("a")), status("b", owned("a")), status("c"))
    assert found.verdict == "behind"
    assert found.findings[0].text == "c has nothing of it yet"


def test_a_member_that_does_not_answer_is_shown_as_the_others_see_it() -> None:
    found = make_report(
        status("a", states={"c": "hidden"}), {address("b"): status("b"), address("c"): "no answer within 1 s"}
    )
    assert [line.state for line in found.lines] == ["ready", "ready", "no answer (hidden)"]
    assert found.lines[2].error == "no answer within 1 s"
    assert not found.is_whole


def test_a_node_that_is_loading_or_preserves_makes_the_cluster_less_than_whole() -> None:
    assert not report(status("a"), status("b"), status("c", ready=False)).is_whole
    preserving = report(status("a"), status("b"), status("c", preserved=True))
    assert not preserving.is_whole
    assert preserving.lines[2].state == "ready, preserving"


def test_a_standalone_node_is_a_whole_cluster_of_one() -> None:
    alone = NodeStatus("a", 1, 5, True, "ready", False, 0, 0)
    found = make_report(alone, {})
    assert [line.node_id for line in found.lines] == ["a"]
    assert found.is_whole


def test_lag_is_told_for_each_peer_by_its_number() -> None:
    found = report(status("a", lags={"b": 0, "c": -1}), status("b", lags={"a": 4}), status("c"))
    assert [lag_text(line, found.lines) for line in found.lines] == ["2: 0  3: ?", "1: 4  3: 0", "1: 0  2: 0"]


def test_members_stand_in_the_same_order_whoever_is_asked_first() -> None:
    assert [line.node_id for line in report(status("c"), status("a"), status("b")).lines] == ["a", "b", "c"]


def test_an_epoch_reads_as_the_moment_it_began_and_its_tail() -> None:
    milliseconds = 1_763_726_400_000
    shown = epoch_text(milliseconds << 16 | 0x3F2A)
    assert shown.startswith("2025-11-2")  # the day depends on where the reader is
    assert shown.endswith(".3f2a")
    assert epoch_text(7) == "7"


def test_the_report_as_json_keeps_digests_exact_and_names_lags_by_address() -> None:
    big = 2**64 - 1
    value = json.loads(json.dumps(report_json(report(*(status(node, owned("a", digest=big)) for node in "abc")))))
    assert value["digests"] == "agree"
    assert value["whole"] is True
    assert value["nodes"][0]["owners"][0]["digest"] == "f" * 16
    assert value["nodes"][0]["lag"] == {"10.0.0.2:8850": 0, "10.0.0.3:8850": 0}
    assert value["nodes"][0]["counters"] == {"push_retries": 3}
