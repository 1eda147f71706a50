"""The etcd member beside a node, kept by the node's supervisor: begun, joined again, started when it died, stopped.

``look`` is called over and over by the one thread of the supervisor and does at most one short step. Data is never
removed here: a member that was put out by another seat stays down until a person has looked.
"""

from __future__ import annotations

import signal
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rollbook.errors import SettingsError
from runtime.processes import send_signal
from runtime.restarts import RestartRhythm
from runtime.settings import Settings
from runtime.store.etcd_beginning import Beginning
from runtime.store.etcd_child import EtcdChild, FoundEtcd, find_etcd
from runtime.store.etcd_gateway import EtcdAccess
from runtime.store.etcd_members import EtcdMembers, admit_member
from runtime.store.etcd_plan import EtcdUnfit, MemberPlan, Timers
from runtime.store.etcd_seats import (
    DIRECTORY,
    SEAT_FILE,
    client_endpoint,
    etcd_seats,
    is_loopback,
    listen_host,
    peer_endpoint,
    seat_kept_in,
)
from runtime.store.port import StoreFault

if TYPE_CHECKING:
    from loguru import Logger

LOOK_SECONDS = 1.0
SOON_SECONDS = 0.01  # while it is not yet what it is to be; what it does then takes its time itself
ASK_SECONDS_MAX = 1.0  # the supervisor notices nothing else meanwhile
JOIN_SECONDS_MAX = 3.0
_PUT_OUT = "the member has been permanently removed from the cluster"  # as every etcd says it
_INSTALL = "install it (Debian, Ubuntu: apt install etcd-server), or name an etcd in store.endpoints"


def open_seat(settings: Settings, log: Logger) -> EtcdSeat | None:
    """None if this node has none; SettingsError in one line if it has one and cannot keep a member."""
    found_seats, own = etcd_seats(settings), settings.node.advertised_peer_address
    if own not in found_seats:
        return None
    if (kept := seat_kept_in(Path(settings.node.data_directory))) not in ("", own):
        message = f"{settings.node.data_directory}/{DIRECTORY} belongs to the etcd member of {kept}, and this is {own}"
        raise SettingsError(f"{message}: it goes with its address; without that directory this node joins anew")
    try:
        found = find_etcd()
    except EtcdUnfit as reason:
        raise SettingsError(f"store.engine is etcd, but {reason}", field="store.engine") from None
    if found is None:
        raise SettingsError(f"store.engine is etcd, and none is on the path: {_INSTALL}", field="store.engine")
    if found.warning:
        log.warning("{}", found.warning)
    return EtcdSeat(settings, found_seats, found, log)


class EtcdSeat:
    """One member. ``stop`` it last."""

    def __init__(self, settings: Settings, found_seats: tuple[str, ...], found: FoundEtcd, log: Logger) -> None:
        self._settings = settings
        self._own = settings.node.advertised_peer_address
        self._own_url = _peer_url(self._own)
        self._seats = found_seats
        self._others = tuple(seat for seat in found_seats if seat != self._own)
        self._found = found
        self._log = log
        self._directory = Path(settings.node.data_directory).absolute() / DIRECTORY
        self._listen_host = listen_host(settings)
        self._rhythm = RestartRhythm(settings.supervisor)
        self._child = self._planned(tuple((seat, _peer_url(seat)) for seat in found_seats), joins_existing=False)
        listen_address = f"{self._listen_host}:{self._own_url.rpartition(':')[2]}"
        self._beginning = Beginning(peer_endpoint(self._own), listen_address, tuple(map(peer_endpoint, self._others)))
        self._starts_at = 0.0
        self._is_cleared = self._is_up = self._has_vote = self._is_put_out = False
        self._said = ""

    def look(self) -> float:
        """Do what is to be done next; in how many seconds to look again."""
        try:
            return self._look()
        except (EtcdUnfit, OSError) as error:
            self._say_once(f"the etcd member cannot be started: {error}")
            return LOOK_SECONDS

    def kill(self) -> None:
        """For whoever does not want to wait. Safe inside of a signal handler."""
        if self._child.mark is not None:
            send_signal(self._child.mark, signal.SIGKILL)

    def stop(self) -> None:
        try:
            if not self._child.stop():
                self._log.warning(
                    "the etcd member did not end by itself and was killed; what it acknowledged is on its disk"
                )
        except EtcdUnfit as error:
            self._log.error("{}", error)

    def _look(self) -> float:
        if self._child.is_running:
            return LOOK_SECONDS if self._has_vote else self._settle()
        if self._is_up:
            self._note_end()
        if self._is_put_out:
            return LOOK_SECONDS
        if (wait_seconds := self._starts_at - time.monotonic()) > 0:
            return min(wait_seconds, LOOK_SECONDS)
        if any((self._directory / "data" / "member" / "wal").glob("*.wal")):
            self._start()
            return SOON_SECONDS
        return self._begin_or_join()

    def _settle(self) -> float:
        """One that joined gets its vote as soon as it has caught up."""
        try:
            with closing(self._members(self._seats)) as members:
                own = [member for member in members.known(ASK_SECONDS_MAX) if self._own_url in member.peer_urls]
                for member in own:
                    if member.is_learner:
                        members.promote(member.member_id, ASK_SECONDS_MAX)
                        self._log.info("the etcd member has caught up and votes")
        except StoreFault as fault:
            self._say_once(f"the etcd member runs, but cannot say yet whether it has a vote: {fault}")
            return LOOK_SECONDS
        self._has_vote = bool(own)
        return LOOK_SECONDS

    def _note_end(self) -> None:
        self._is_up = self._has_vote = False
        last = self._child.last_log_lines()
        if any(_PUT_OUT in line for line in last):
            self._is_put_out = True
            advice = "do all nodes have the same list in the same order? Without that directory this node joins anew"
            self._log.error("another node took the seat of the etcd member in {}: {}", self._directory, advice)
            return
        self._rhythm.note_death(now := time.monotonic())
        self._starts_at = now + self._rhythm.delay_ms / 1000
        reason = last[-1] if last else "it said nothing"
        self._log.warning("the etcd member ended; starting it again in {} ms: {}", self._rhythm.delay_ms, reason)

    def _begin_or_join(self) -> float:
        """Without data: never there, or lost it."""
        if not self._is_cleared:
            self._child.end_remains()  # they may hold the port
            self._is_cleared = True
        self._beginning.hear()
        if not (missing := self._beginning.missing):
            self._start()
        elif self._beginning.was_there_before:
            return self._join()
        else:
            waited_for = ", ".join(missing)
            self._say_once(
                f"the etcd member has no data; that it never had, {waited_for} must know first", is_usual=True
            )
        return SOON_SECONDS

    def _join(self) -> float:
        seated_urls = [_peer_url(seat) for seat in self._seats]
        try:
            with closing(self._members(self._others)) as members:
                peers = admit_member(members, self._own, self._own_url, seated_urls, JOIN_SECONDS_MAX)
        except StoreFault as fault:
            self._say_once(f"the etcd member has no data and joins once a majority of the others answers: {fault}")
            return LOOK_SECONDS
        self._log.warning("the etcd member has no data: it joins the others and gets all from them")
        self._child = self._planned(peers, joins_existing=True)
        self._start()
        return SOON_SECONDS

    def _start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        (self._directory / SEAT_FILE).write_text(f"{self._own}\n", encoding="utf-8")
        is_new = self._child.start()
        self._is_up, self._has_vote, self._said = True, False, ""
        how = "started" if is_new else "still ran and is taken over"
        self._log.info("the etcd member {}: clients at {}", how, client_endpoint(self._own))

    def _planned(self, peers: tuple[tuple[str, str], ...], *, joins_existing: bool) -> EtcdChild:
        plan = MemberPlan(
            name=self._own,
            cluster_token=self._settings.node.cluster_name,
            data_directory=str(self._directory / "data"),
            client_url=f"http://{client_endpoint(self._own)}",
            peer_url=self._own_url,
            peers=peers,
            timers=Timers.LAPTOP if all(map(is_loopback, self._seats)) else Timers.LAN,
            listen_host=self._listen_host,
            joins_existing=joins_existing,
        )
        return EtcdChild(self._found, plan, self._directory, self._settings.etcd)

    def _members(self, of: tuple[str, ...]) -> EtcdMembers:
        endpoints = tuple(f"http://{client_endpoint(seat)}" for seat in of)
        return EtcdMembers(EtcdAccess(endpoints=endpoints, key_prefix=""), self._settings.etcd)

    def _say_once(self, line: str, *, is_usual: bool = False) -> None:
        """Again only when it has changed."""
        if line != self._said:
            self._said = line
            self._log.log("INFO" if is_usual else "WARNING", "{}", line)


def _peer_url(seat: str) -> str:
    return f"http://{peer_endpoint(seat)}"
