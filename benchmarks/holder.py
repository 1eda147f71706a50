"""A process with clients that publish and stay: what gets killed in the fault measures.

    python -m benchmarks.holder SERVICE CLIENTS SERVER[,SERVER...]

Each client registers one instance of the service (10.0.0.N:80). Prints ``ready``; ends with its standard input.
"""

from __future__ import annotations

import sys

from rollbook import NamingClient


def main() -> None:
    service, count, servers = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
    clients = [NamingClient(servers=servers, app="holder", timeout=5.0) for _ in range(count)]
    for number, client in enumerate(clients):
        client.register_instance(service, f"10.0.{number // 250}.{number % 250}", 80)
    print("ready", flush=True)
    sys.stdin.read()
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
