"""The kept corpus and every input that once broke a promise, replayed without the fuzzer."""

from __future__ import annotations

import pytest

from tests.fuzz.corpus import CORPUS, REGRESSIONS, inputs_in, regressions
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS

CORPUS_FILES_MAX = 340
CORPUS_BYTES_MAX = 500_000


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_is_read_or_refused_as_promised(target: str) -> None:
    inputs = inputs_in(CORPUS / target)
    outcomes = [TARGETS[target].check(path.read_bytes()) for path in inputs]
    assert len(set(outcomes)) > len(inputs) / 2, "a kept input is there for an outcome of its own"
    refused = [outcome.startswith("refused") for outcome in outcomes]
    assert any(refused)
    assert not all(refused)


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_starts_from_is_valid(target: str) -> None:
    for seed in seeds_of(target):
        assert not TARGETS[target].check(seed).startswith("refused")


def test_the_kept_corpus_stays_small_enough_to_be_carried_along() -> None:
    files = [path for target in TARGETS for path in inputs_in(CORPUS / target)]
    assert len(files) <= CORPUS_FILES_MAX
    assert sum(path.stat().st_size for path in files) <= CORPUS_BYTES_MAX
    assert sorted(TARGETS) == sorted(path.name for path in CORPUS.iterdir()), "each target has its own, and no other"


def test_every_regression_has_a_reason() -> None:
    stored = {f"{target}/{path.name}" for target in TARGETS for path in inputs_in(REGRESSIONS / target)}
    assert stored == set(regressions())
    assert all(regressions().values())


@pytest.mark.parametrize("name", regressions())
def test_what_once_broke_a_promise_is_refused_as_promised(name: str) -> None:
    target, _, _ = name.partition("/")
    assert TARGETS[target].check((REGRESSIONS / name).read_bytes()).startswith("refused")
