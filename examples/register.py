"""Register one instance and hold it until Ctrl-C.

python examples/register.py 127.0.0.1:8850 orders 10.0.0.1 8080
"""

from __future__ import annotations

import signal
import sys

from rollbook import NamingClient, RollbookError


def main(servers: str, service: str, ip: str, port: int) -> None:
    with NamingClient(servers, app="example") as client:
        client.register_instance(service, ip, port, metadata={"version": "1"})
        print(f"{service} is listed at {ip}:{port}; Ctrl-C takes it back", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    if len(sys.argv) != 5 or not sys.argv[4].isdigit():
        sys.exit("usage: python examples/register.py HOST:PORT[,HOST:PORT] SERVICE IP PORT")
    try:
        main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
    except RollbookError as error:
        sys.exit(f"{type(error).__name__}: {error}")
