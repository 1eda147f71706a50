"""Everything that touches the world: sockets, threads, files, processes; and the composition root (runtime/node.py)."""
