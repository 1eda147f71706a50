"""Views as they came from the node, decoded once for all sessions that get the same bytes."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from rollbook.codec import typed, unpack
from rollbook.model import View
from rollbook.wire import ANSWER_LIMITS


class SharedViews:
    """The last ones that were used, up to a number and a size. Equal bytes give the same object."""

    def __init__(self, kept_max: int, bytes_max: int) -> None:
        self._kept_max = kept_max
        self._bytes_max = bytes_max
        self._bytes = 0  # of all that are kept
        self._views: OrderedDict[bytes, View] = OrderedDict()

    def __len__(self) -> int:
        return len(self._views)

    def decode(self, body: msgspec.Raw) -> View:
        """RemoteProtocolError if it is none."""
        key = bytes(body)
        view = self._views.get(key)
        if view is not None:
            self._views.move_to_end(key)
            return view
        view = self._views[key] = typed(unpack(key, ANSWER_LIMITS), View)
        self._bytes += len(key)
        while len(self._views) > self._kept_max or self._bytes > self._bytes_max:
            oldest, _ = self._views.popitem(last=False)
            self._bytes -= len(oldest)
        return view
