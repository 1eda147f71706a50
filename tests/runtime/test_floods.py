"""A connection that breaks while its frames wait unread: libzmq must survive it, for a stranger can bring it about."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.real_cluster import free_base_ports

# In a process of its own, because what is looked for ends it. The flooder is one more, so that it can be killed.
_NODE = """
import select, subprocess, sys
import zmq
from runtime import sockets
from runtime.edge import IoSettings
from tests.support.settings import settings_of

settings = settings_of("io", IoSettings)
context = sockets.node_context()
router = getattr(sockets, sys.argv[1])(context, sys.argv[2], settings)
flooder = subprocess.Popen([sys.executable, "-c", sys.argv[3], sys.argv[2]], stdout=subprocess.PIPE)
flooder.stdout.readline()
select.select([], [], [], 0.5)
flooder.kill()
flooder.wait()
select.select([], [], [], 2.5)
read = 0
while router.poll(100):
    router.recv_multipart()
    read += 1
print(read)
"""
_FLOODER = """
import sys, select
import zmq
dealer = zmq.Context().socket(zmq.DEALER)
dealer.set(zmq.SNDHWM, 0)
dealer.connect(f"tcp://{sys.argv[1]}")
for _ in range(2_000):
    dealer.send(bytes(50))
print("sent", flush=True)
select.select([], [], [], 60)
"""


@pytest.mark.parametrize("bind", ["bind_client_router", "bind_peer_router"])
def test_a_flood_that_nobody_reads_and_a_close_do_not_end_the_process(bind: str) -> None:
    address = f"127.0.0.1:{free_base_ports(1)[0]}"
    node = subprocess.run(
        [sys.executable, "-c", _NODE, bind, address, _FLOODER], capture_output=True, text=True, timeout=50
    )
    assert node.returncode == 0, node.stderr
    assert int(node.stdout) > 200, "what had arrived is still there to be read"
