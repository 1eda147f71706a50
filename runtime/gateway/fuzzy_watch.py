"""Which services there are, told to SDKs that watch them by patterns.

Each pattern is followed once for all who watch it, by asking the node again and again what has come and gone. Of each
watcher is kept what it knows; it is told the difference until there is none, so that nothing is missed, whatever it
missed before: what is new in batches at first, everything else one by one. What an SDK does not acknowledge it is told
again, as it is then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec
from loguru import logger

from rollbook.catalog import FindServices, ServicesFound
from rollbook.errors import RollbookError
from rollbook.model import DEFAULT_NAMESPACE, GROUP_LENGTH_MAX, NAMESPACE_LENGTH_MAX, SERVICE_NAME_LENGTH_MAX
from runtime.gateway.followed_pattern import FollowedPattern
from runtime.gateway.node_link import NodeLink
from runtime.gateway.sdk_messages import PARAMETER_ILLEGAL, FuzzyWatchRequest, SdkAnswer, failed, read_body, succeeded
from runtime.gateway.sdk_stream import SdkStream
from runtime.gateway.settings import GatewaySettings

_LOG = logger.bind(actor="grpc")
_RESPONSE = "NamingFuzzyWatchResponse"
TOO_MANY_PATTERNS, TOO_MANY_MATCHES = 50_310, 50_311
BATCH_MAX = 10
KEYS_RECEIVED_MAX = 10_000
KEY_LENGTH_MAX = NAMESPACE_LENGTH_MAX + GROUP_LENGTH_MAX + SERVICE_NAME_LENGTH_MAX + len("@@@@")
PATTERN_LENGTH_MAX = 1_024
_ANY = {".*": "*"}  # one SDK writes it where it means any
_ADDED, _DELETED = "ADD_SERVICE", "DELETE_SERVICE"


class _Watcher:
    """``knows``: the service keys that the SDK has. Of the stages, only the last one goes on for ever."""

    def __init__(self, stream: SdkStream, followed: _Followed) -> None:
        self.stream = stream
        self.followed = followed
        self.knows: set[str] = set()
        self.stage = "init"  # then "settled"; or "diff", then "settled"
        self.batches_total = 0
        self.batches_told = 0
        self.is_in_flight = False
        self.timer: asyncio.TimerHandle | None = None

    def begin(self, received: Iterable[str], *, is_initializing: bool) -> None:
        self.knows = {key for key in received if len(key) <= KEY_LENGTH_MAX}
        self.stage = "init" if is_initializing else "diff"
        self.batches_total = self.batches_told = 0


class _Followed:
    """One pattern, and who watches it."""

    def __init__(self, services: FollowedPattern) -> None:
        self.services = services
        self.watchers: dict[SdkStream, _Watcher] = {}
        self.lock = asyncio.Lock()

    @property
    def pattern(self) -> str:
        return self.services.pattern


class FuzzyWatches:
    """One for each gateway. Every method is called on the loop."""

    def __init__(self, link: NodeLink, settings: GatewaySettings) -> None:
        self._link = link
        self._settings = settings
        self._matches_max = settings.fuzzy_matches_max
        self._loop = asyncio.get_running_loop()
        self._followed: dict[str, _Followed] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._followed)

    async def answer(self, stream: SdkStream, body: bytes) -> SdkAnswer:
        """msgspec.MsgspecError if it is no such request; what the node says."""
        request = read_body(body, FuzzyWatchRequest)
        pattern = request.group_key_pattern or ""
        parts = pattern.split(">>")
        if request.watch_type == "CANCEL_WATCH":
            self._cancel(stream, pattern)
            return succeeded(_RESPONSE)
        if request.watch_type != "WATCH":
            return failed(_RESPONSE, PARAMETER_ILLEGAL, f"Unsupported watch type {request.watch_type}")
        if len(parts) != 3 or len(pattern) > PATTERN_LENGTH_MAX:
            return failed(_RESPONSE, PARAMETER_ILLEGAL, "a pattern is namespace>>group>>service")
        if stream.is_closed:  # while its request waited for the node
            return succeeded(_RESPONSE)
        return await self._watch(stream, pattern, parts, request)

    def gone(self, stream: SdkStream) -> None:
        """The stream has ended."""
        for pattern in [each.pattern for each in self._followed.values() if stream in each.watchers]:
            self._cancel(stream, pattern)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    # -- who watches

    async def _watch(self, stream: SdkStream, pattern: str, parts: list[str], request: FuzzyWatchRequest) -> SdkAnswer:
        followed = self._followed.get(pattern)
        if followed is None:
            if len(self._followed) >= self._settings.fuzzy_patterns_max:
                return failed(_RESPONSE, TOO_MANY_PATTERNS, "fuzzy watch pattern over limit")
            namespace, group, name = parts[0] or DEFAULT_NAMESPACE, *(_ANY.get(part, part) for part in parts[1:])
            followed = self._followed[pattern] = _Followed(FollowedPattern(pattern, namespace, group, name))
        watcher = followed.watchers.get(stream)
        if watcher is None:
            watcher = followed.watchers[stream] = _Watcher(stream, followed)
        received = request.received_group_keys or ()
        watcher.begin(received[:KEYS_RECEIVED_MAX], is_initializing=request.initializing is True)
        try:
            await self._ask(followed)
        except RollbookError:
            self._cancel(stream, pattern)
            raise
        if followed.watchers.get(stream) is not watcher:
            return succeeded(_RESPONSE)  # its stream has ended meanwhile
        if self._task is None:
            self._task = self._loop.create_task(self._follow())
        self._step_later(watcher, self._settings.fuzzy_interval_ms)  # behind the answer
        if followed.services.total > self._matches_max:
            return failed(_RESPONSE, TOO_MANY_MATCHES, "fuzzy watch pattern matched count over limit")
        return succeeded(_RESPONSE)

    def _cancel(self, stream: SdkStream, pattern: str) -> None:
        followed = self._followed.get(pattern)
        watcher = followed.watchers.pop(stream, None) if followed is not None else None
        if followed is None or watcher is None:
            return
        if watcher.timer is not None:
            watcher.timer.cancel()
        if not followed.watchers:
            del self._followed[pattern]
        if not self._followed:
            self.stop()

    # -- what the node says

    async def _follow(self) -> None:
        """As long as anybody watches."""
        while True:
            await asyncio.sleep(self._settings.fuzzy_interval_ms / 1000)
            await self._link.resumption.wait(self._settings.request_timeout_ms)
            for followed in list(self._followed.values()):
                try:
                    await self._ask(followed)
                except RollbookError as error:
                    fields = {"pattern": followed.pattern, "reason": error.message}
                    _LOG.bind(**fields).debug("the services of a pattern are not known at the moment")
                for watcher in list(followed.watchers.values()):
                    self._step(watcher)

    async def _ask(self, followed: _Followed) -> None:
        """One question at a time, so that no answer comes after a newer one."""
        services = followed.services
        async with followed.lock:
            epoch = self._epoch()
            found = await self._find(services, services.since(epoch))
            if (not found.is_whole and epoch != self._epoch()) or services.needs_all(found, self._matches_max):
                epoch = self._epoch()
                found = await self._find(services, 0)
            services.take(found, epoch)

    def _epoch(self) -> int:
        return self._link.node.epoch if self._link.node is not None else 0

    async def _find(self, services: FollowedPattern, since: int) -> ServicesFound:
        order = FindServices(services.namespace, services.group, services.name, self._matches_max, since)
        found: ServicesFound = await self._link.ask(order)
        return found

    # -- what watchers are told

    def _step_later(self, watcher: _Watcher, pause_ms: int) -> None:
        if watcher.timer is not None:
            watcher.timer.cancel()
        watcher.timer = self._loop.call_later(pause_ms / 1000, self._resume, watcher)

    def _resume(self, watcher: _Watcher) -> None:
        watcher.timer = None
        self._step(watcher)

    def _step(self, watcher: _Watcher) -> None:
        """Tell the next thing, unless one is under way or to be repeated."""
        matched = watcher.followed.services.matched
        is_watching = watcher.followed.watchers.get(watcher.stream) is watcher
        if matched is None or watcher.is_in_flight or watcher.timer is not None or not is_watching:
            return
        missing, extra = sorted(matched - watcher.knows), watcher.knows - matched
        if watcher.stage != "settled" and missing:
            self._tell_batch(watcher, missing)
        elif watcher.stage == "init":
            self._tell_finish(watcher)
        elif missing or extra:
            watcher.stage = "settled"
            # SDKs take what a batch names for additions only, so what is gone is told as a change.
            key, change = (min(extra), _DELETED) if extra else (missing[0], _ADDED)
            self._tell_change(watcher, key, change)
        else:
            watcher.stage = "settled"

    def _tell_batch(self, watcher: _Watcher, missing: list[str]) -> None:
        batch = missing[:BATCH_MAX]
        if not watcher.batches_total:
            watcher.batches_total = -(-len(missing) // BATCH_MAX)
        number = min(watcher.batches_told + 1, watcher.batches_total)
        kind = "FUZZY_WATCH_INIT_NOTIFY" if watcher.stage == "init" else "FUZZY_WATCH_DIFF_SYNC_NOTIFY"
        contexts = [{"serviceKey": key, "changedType": _ADDED} for key in batch]
        self._tell_sync(watcher, kind, contexts, watcher.batches_total, number, batch)

    def _tell_finish(self, watcher: _Watcher) -> None:
        self._tell_sync(watcher, "FINISH_FUZZY_WATCH_INIT_NOTIFY", [], 1, 1, [])

    def _tell_sync(
        self,
        watcher: _Watcher,
        kind: str,
        contexts: list[dict[str, str]],
        batches: int,
        number: int,
        told: list[str],
    ) -> None:
        def on_read() -> None:
            watcher.knows.update(told)
            watcher.batches_told += 1
            if not told:
                watcher.stage = "settled"

        fields = {
            "syncType": kind,
            "groupKeyPattern": watcher.followed.pattern,
            "contexts": contexts,
            "totalBatch": batches,
            "currentBatch": number,
            "module": "naming",
        }
        self._tell(watcher, "NamingFuzzyWatchSyncRequest", fields, on_read)

    def _tell_change(self, watcher: _Watcher, key: str, change: str) -> None:
        def on_read() -> None:
            if change == _ADDED:
                watcher.knows.add(key)
            else:
                watcher.knows.discard(key)

        fields = {
            "syncType": "FUZZY_WATCH_RESOURCE_CHANGED",
            "serviceKey": key,
            "changedType": change,
            "module": "naming",
        }
        self._tell(watcher, "NamingFuzzyWatchChangeNotifyRequest", fields, on_read)

    def _tell(self, watcher: _Watcher, kind: str, fields: Mapping[str, object], on_read: Callable[[], None]) -> None:
        begun = watcher.knows  # another set, if the SDK asks anew meanwhile

        def on_answer(is_read: bool) -> None:
            watcher.is_in_flight = False
            if is_read and watcher.knows is begun:
                on_read()
            if is_read:
                self._step(watcher)
            else:
                self._step_later(watcher, self._settings.push_retry_ms)

        watcher.is_in_flight = True
        name = ("fuzzy", watcher.followed.pattern)
        body = msgspec.json.encode(fields)[1:-1]
        watcher.stream.ask(name, kind, body, self._settings.push_ack_ms, on_answer)
