"""Beats that come late one after the other: a node that is slow is not taken for one that stood still."""

from __future__ import annotations

import random

from actors.base import NodeIdentity, Now, Tell
from actors.client_manager import ClientManager, ClientsSettings
from actors.messages.clients import BeatPassed
from actors.messages.members import DigestsTaken
from tests.support.settings import settings_of

IDENTITY = NodeIdentity("a", 100, "test", "a:8851", "a:8850", 256)


def proofs(*times_ms: int) -> list[bool]:
    """Which of these beats proved life."""
    clients = ClientManager(IDENTITY, settings_of("clients", ClientsSettings), random.Random(1))
    taken = []
    for number, ms in enumerate(times_ms):
        effects = clients.handle(BeatPassed(number), Now(ms, 1_700_000_000_000 + ms))
        taken += [e.message.proves_life for e in effects if isinstance(e, Tell) and isinstance(e.message, DigestsTaken)]
    return taken


def test_a_node_whose_every_beat_is_two_seconds_late_proves_life_every_third_time() -> None:
    assert proofs(*range(1_000, 20_000, 2_000)) == [True, False, False, True, False, False, True, False, False, True]


def test_a_pause_while_a_node_settles_makes_it_settle_anew() -> None:
    assert proofs(1_000, 4_000, 44_000, 45_000, 46_000, 47_000) == [True, False, False, False, False, True]
