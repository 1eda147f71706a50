"""The command line ``rollbook``: start a node, register, look, watch, decide, judge a cluster, check a configuration.

The console script enters by runtime/command.py.
"""

from rollbook.cli.app import main

__all__ = ["main"]
