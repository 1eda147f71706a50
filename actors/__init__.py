"""The actors of a node: one file each, and the pure rules beside them."""
