"""The gateway: HTTP and gRPC for the SDKs of the original, speaking the native protocol to a node."""

import os

# gRPC has a log of its own on standard error, with a line for each stranger who fails to shake hands. It reads this
# when it is imported, and that is done in this package. Whoever looks for a fault of gRPC says something else.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
