"""One stream to an SDK: what leaves on it, in order, and what became of each question.

Whoever asks is told whether it was answered with success, once. A message that has not left yet is overtaken by a newer
one with its name, so that an SDK that does not read costs no more than what there is to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc
import grpc.aio

from runtime.gateway.sdk_messages import OK, StreamResponse, payload
from runtime.gateway.wire.sdk_pb2 import Payload

StreamContext = grpc.aio.ServicerContext[Payload, Payload]
OnAnswer = Callable[[bool], None]

_LATE_SECONDS = 0.5  # a loop that is so late has not read what came meanwhile


class StreamEnd(NamedTuple):
    """An error always: SDKs that see a stream end well go on as if it stood."""

    code: grpc.StatusCode
    details: str


class _Question(NamedTuple):
    on_answer: OnAnswer
    timer: asyncio.TimerHandle


class SdkStream:
    """Every method is called on the loop. ``numbers`` of questions are shared by all streams: an SDK that moves may
    answer on its new stream what it was asked on the old one."""

    def __init__(self, context: StreamContext, numbers: Iterator[int]) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._numbers = numbers
        self._unsent: dict[object, Payload] = {}
        self._questions: dict[str, _Question] = {}
        self._has_unsent = asyncio.Event()
        self.is_closed = False
        self.ended: asyncio.Future[StreamEnd] = self._loop.create_future()

    @property
    def questions(self) -> int:
        return len(self._questions)

    def tell(self, name: object, kind: str, body: bytes) -> None:
        """``body``: a JSON object."""
        self._unsent.pop(name, None)
        self._unsent[name] = payload(kind, body)
        self._has_unsent.set()

    def ask(self, name: object, kind: str, fields: bytes, timeout_ms: int, on_answer: OnAnswer) -> None:
        """``fields``: those of a JSON object, without its braces."""
        number = str(next(self._numbers))
        seconds = timeout_ms / 1000
        timer = self._loop.call_later(seconds, self._expire, number, self._loop.time() + seconds, seconds)
        self._questions[number] = _Question(on_answer, timer)
        self.tell(name, kind, b'{"headers":{},"requestId":"%b",%b}' % (number.encode(), fields))

    def answered(self, response: StreamResponse) -> None:
        """Whatever its type is: SDKs differ in what they call it."""
        question = self._questions.pop(str(response.request_id), None)
        if question is not None:
            question.timer.cancel()
            question.on_answer(response.result_code == OK)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        if not self.ended.done():
            self.ended.set_result(StreamEnd(code, details))

    def close(self) -> None:
        """It has ended: nobody will answer."""
        self.is_closed = True
        for question in self._questions.values():
            question.timer.cancel()
        self._questions.clear()
        self._unsent.clear()

    async def write(self) -> None:
        """As long as the stream lives."""
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            while self._unsent:
                message = self._unsent.pop(next(iter(self._unsent)))
                await self._context.write(message)

    def _expire(self, number: str, due: float, seconds: float) -> None:
        question = self._questions.get(number)
        if question is None:
            return
        if self._loop.time() - due > _LATE_SECONDS:
            timer = self._loop.call_later(seconds, self._expire, number, self._loop.time() + seconds, seconds)
            self._questions[number] = question._replace(timer=timer)
            return
        del self._questions[number]
        question.on_answer(False)
