"""Lists of services as JSON: made once for all who ask for the same list."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from rollbook.model import View
from runtime.gateway.shapes import RefTimes, service_shape

LIST_BYTES_MAX = 10 * 1024 * 1024 - 64 * 1024  # what SDKs take, without what is around it
_DIGEST_BYTES = 16


class EncodedList(NamedTuple):
    """``content`` is the same for two lists that show the same instances, whenever they were made."""

    view: View
    json: bytes
    content: bytes


class ServiceLists:
    """One for each gateway. Views are shared by all who get the same bytes (shared_views.py), so that the object is the
    name of its content; while it is kept here, no other can have its id."""

    def __init__(self, kept_max: int, bytes_max: int, services_max: int) -> None:
        self._kept_max = kept_max
        self._bytes_max = bytes_max
        self._bytes = 0  # of JSON that is kept
        self._kept: OrderedDict[tuple[int, str, bool, bool], EncodedList] = OrderedDict()
        self._ref_times = RefTimes(services_max)

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, view: View, clusters: str, *, healthy_only: bool = False, is_grouped: bool = False) -> EncodedList:
        """InvalidField if the filter breaks the name rules."""
        key = (id(view), clusters, healthy_only, is_grouped)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        shape = service_shape(
            view, clusters, self._ref_times.of(view), healthy_only=healthy_only, is_grouped=is_grouped
        )
        shown = msgspec.json.encode((shape.hosts, shape.reach_protection_threshold))
        digest = hashlib.blake2b(shown, digest_size=_DIGEST_BYTES).digest()
        encoded = self._kept[key] = EncodedList(view, msgspec.json.encode(shape), digest)
        self._bytes += len(encoded.json)
        while len(self._kept) > self._kept_max or self._bytes > self._bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.json)
        return encoded
