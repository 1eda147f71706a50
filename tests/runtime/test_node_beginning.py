"""A node that cannot begin leaves everything as it was: whoever comes next finds it free."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from runtime.endpoints import AddressUnusable
from runtime.node import Node
from runtime.node_store import NodeStore
from runtime.settings import load_settings
from runtime.store.opening import open_store


def fail(failure: BaseException) -> None:
    raise failure


def test_a_node_whose_port_is_taken_gives_its_directory_and_its_store_back(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = {"base_port": taken.getsockname()[1] - 2, "data_directory": str(tmp_path)}
        settings = load_settings(None, {"node": node}, {})
        with pytest.raises(AddressUnusable) as refused:
            Node(settings)
    assert refused.tb is not None, "what is still referred to from there would keep its lock"
    assert set(threading.enumerate()) <= threads, "none of the store is left"
    NodeStore.open(tmp_path, 0.0).close()
    store = open_store(settings, "alone", fail)
    assert store is not None
    store.close()
