"""The image of the store: what a node makes of rows, beside a dictionary that cannot be wrong."""

from __future__ import annotations

import random

import pytest

from actors.durable_image import DurableImage, ImageChange
from actors.durable_rows import fence_row_key, instance_row_key, instance_row_value
from actors.durable_values import KeptFence, KeptInstance
from actors.messages.store import Cut, Operation, Proposal, Row, StoredChange
from rollbook.model import Instance, Service
from tests.support.model_store import ModelStore

SERVICES = (Service("public", "shop", "orders"), Service("public", "shop", "prices"))


def instance_row(port: int, weight: float = 1.0, service: Service = SERVICES[0]) -> tuple[str, bytes]:
    instance = Instance("10.0.0.1", port, weight=weight, ephemeral=False)
    return instance_row_key(service, instance.key), instance_row_value(instance, "client", 5, 5)


KEY, VALUE = instance_row(1)


@pytest.fixture
def image() -> DurableImage:
    made = DurableImage()
    made.replace(Cut((Row(KEY, VALUE, 3),), 4))
    return made


def test_an_image_is_empty_and_not_loaded_until_a_cut_is_taken() -> None:
    image = DurableImage()
    assert (image.is_loaded, image.index, image.rows) == (False, 0, {})
    changes, reasons = image.replace(Cut((Row(KEY, VALUE, 3),), 4))
    assert [(change.key, change.before) for change in changes] == [(KEY, None)]
    assert (reasons, image.is_loaded, image.index) == ([], True, 4)


def test_a_change_says_what_was_there_before(image: DurableImage) -> None:
    before = image.rows[KEY]
    [change], _ = image.follow([StoredChange(5, (Operation(KEY, instance_row(1, 2.0)[1]),))], 5)
    assert change == ImageChange(KEY, before, image.rows[KEY])
    [change], _ = image.follow([StoredChange(6, (Operation(KEY, None),))], 6)
    assert change.after is None
    assert (image.index, image.rows, image.instances_of) == (6, {}, {})


def test_what_is_known_already_changes_nothing(image: DurableImage) -> None:
    assert image.follow([StoredChange(4, (Operation(KEY, None),))], 4) == ([], [])
    assert KEY in image.rows


def test_a_later_cut_shows_what_differs_and_nothing_else(image: DurableImage) -> None:
    other = instance_row(2)
    changes, _ = image.replace(Cut((Row(KEY, VALUE, 3), Row(*other, 7)), 8))
    assert [change.key for change in changes] == [other[0]]
    changes, _ = image.replace(Cut((Row(KEY, VALUE, 9),), 9))
    assert [(change.key, change.after is None) for change in changes] == [(other[0], True), (KEY, False)]
    assert image.row_index(KEY) == 9


def test_an_older_cut_changes_nothing(image: DurableImage) -> None:
    assert image.replace(Cut((), 3)) == ([], [])
    assert image.index == 4


def test_nothing_else_happened_up_to_an_index(image: DurableImage) -> None:
    assert image.follow([], 9) == ([], [])
    assert image.index == 9
    image.follow([], 2)
    assert image.index == 9, "and it never goes back"


def test_a_row_that_cannot_be_read_is_named_once_and_known_by_its_index(image: DurableImage) -> None:
    changes, reasons = image.follow([StoredChange(5, (Operation(KEY, b"\xc1"),))], 5)
    assert [change.after for change in changes] == [None], "what it was before it is not any more"
    assert len(reasons) == 1
    assert KEY in reasons[0]
    assert (image.rows, image.row_index(KEY)) == ({}, 5)
    changes, reasons = image.follow([StoredChange(6, (Operation(KEY, VALUE),))], 6)
    assert (len(changes), reasons, image.unreadable) == (1, [], {})


def test_a_row_that_could_not_be_read_and_is_gone_is_forgotten(image: DurableImage) -> None:
    image.follow([StoredChange(5, (Operation("user bob", b""), Operation("user eve", b"")))], 5)
    image.follow([StoredChange(6, (Operation("user bob", None),))], 6)
    assert image.unreadable == {"user eve": 5}
    image.replace(Cut((Row(KEY, VALUE, 3),), 7))
    assert image.unreadable == {}


def test_a_row_is_what_its_value_means_and_one_that_cannot_be_read_is_what_none_means(image: DurableImage) -> None:
    image.follow([StoredChange(5, (Operation(KEY, VALUE),))], 5)
    assert image.shows(KEY, VALUE)
    assert not image.shows(KEY, b"no row")
    image.follow([StoredChange(6, (Operation(KEY, b"no row"),))], 6)
    assert not image.shows(KEY, b"no row")
    assert not image.shows(KEY, VALUE)


def test_a_fence_is_a_row_and_no_instance(image: DurableImage) -> None:
    image.follow([StoredChange(5, (Operation(fence_row_key("n1"), b"1"),))], 5)
    assert image.rows[fence_row_key("n1")] == KeptFence("n1", 5)
    assert image.instances_of == {SERVICES[0]: 1}


class Twin:
    """The store as a dictionary, and an image that sees it by news, by cuts, twice or late, but never with a gap."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = ModelStore()
        self.image = DurableImage()
        self.shown: dict[str, float] = {}  # what somebody knows who looks at the changes alone
        self.seen = 0

    def write(self) -> None:
        keys = self.chance.sample(range(5), self.chance.randrange(1, 4))
        operations = tuple(self._operation(key) for key in keys)
        self.store.apply(Proposal(0, operations))

    def look(self) -> None:
        if not self.image.is_loaded or self.chance.random() < 0.2:
            changes, reasons = self.image.replace(self.store.cut())
        else:
            first = max(0, self.image.index - self.chance.choice([0, 0, 3]))
            news = self.store.changes_after(first, self.chance.choice([1, 3, 100]))
            assert news is not None
            changes, reasons = self.image.follow(news, news[-1].index if news else self.store.index)
        self.seen += len(reasons)
        for change in changes:
            assert self._weight(change.before) == self.shown.get(change.key), "what was there before"
            self._show(change)
        self.image.check_invariants()

    def compare(self) -> None:
        """With the rows as they were at the index of the image."""
        expected = {}
        for change in self.store.log:
            if change.index <= self.image.index:
                for operation in change.operations:
                    expected[operation.key] = (operation.value, change.index)
        readable = {key: index for key, (value, index) in expected.items() if value not in (None, b"?")}
        assert {key: kept.index for key, kept in self.image.rows.items()} == readable
        assert self.shown.keys() == readable.keys()
        strange = {key: index for key, (value, index) in expected.items() if value == b"?"}
        assert self.image.unreadable == strange

    def _operation(self, number: int) -> Operation:
        key, value = instance_row(number, self.chance.randrange(9), SERVICES[number % 2])
        return Operation(key, self.chance.choice([value, value, value, None, b"?"]))

    def _show(self, change: ImageChange) -> None:
        weight = self._weight(change.after)
        if weight is None:
            del self.shown[change.key]
        else:
            self.shown[change.key] = weight

    @staticmethod
    def _weight(kept: object) -> float | None:
        return kept.instance.weight if isinstance(kept, KeptInstance) else None


@pytest.mark.parametrize("seed", range(60))
def test_an_image_and_its_twin_agree_at_every_index(seed: int) -> None:
    twin = Twin(seed)
    for _ in range(120):
        twin.chance.choice([twin.write, twin.look])()
        if twin.image.is_loaded:
            twin.compare()
    twin.image.replace(twin.store.cut())
    assert twin.seen
