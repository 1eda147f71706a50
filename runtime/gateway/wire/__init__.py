"""Generated code, and what it is generated from."""
