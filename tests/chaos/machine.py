"""What a machine must have for a round, said in one line where it has not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.chaos.world import own_label


def missing() -> str:
    """Empty if a round can run here."""
    if os.geteuid() != 0:
        return "chaos rounds need root: they make network namespaces"
    if shutil.which("ip") is None:
        return "chaos rounds need ip (Debian, Ubuntu: apt-get install iproute2)"
    if shutil.which("nft") is None:
        return "chaos rounds need nft (Debian, Ubuntu: apt-get install nftables)"
    if not Path("/dev/net/tun").exists():
        return "chaos rounds need /dev/net/tun, and this machine has none"
    return _missing_right()


def _missing_right() -> str:
    """Root in a container may still be refused."""
    name = f"{own_label()}.trial"  # so that a round beside this one does not sweep it away
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"chaos rounds need network namespaces, and this machine refuses them: {made.stderr.strip()}"
    trial = ["ip", "netns", "exec", name, "nft", "add table inet chaos"]
    filtered = subprocess.run(trial, capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], check=True)
    if filtered.returncode != 0:
        return f"chaos rounds need nftables, and this kernel refuses them: {filtered.stderr.strip()}"
    return ""
