"""Whether tests may run an etcd here, and in one line why not."""

from __future__ import annotations

from functools import cache

import pytest

from runtime.store.etcd_child import FoundEtcd, find_etcd
from runtime.store.etcd_plan import EtcdUnfit

NO_ETCD = "no etcd on the path (Debian, Ubuntu: apt install etcd-server)"


@cache
def installed_etcd() -> FoundEtcd | str:
    """It, or why there is none that may be used."""
    try:
        return find_etcd() or NO_ETCD
    except EtcdUnfit as reason:
        return str(reason)


def why_no_etcd() -> str:
    """Nothing, where there is one."""
    found = installed_etcd()
    return found if isinstance(found, str) else ""


NEEDS_ETCD = pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())
