"""The console script ``rollbook``. Loading everything takes a tenth of a second, and Ctrl-C has a meaning then too.

It ends the command at once and without a word, as it ends any program: what a command has open, its closed connection
takes back. Commands with something to finish say so themselves (``start``, ``register``).
"""

from __future__ import annotations

import signal


def main() -> int:
    """Run one command; the exit code."""
    # A shell starts what runs in the background with Ctrl-C ignored; that is its decision.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rollbook.cli.app import main as run_command

    return run_command()
