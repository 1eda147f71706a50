"""Durable data: one port (port.py), and a file for each engine behind it."""
