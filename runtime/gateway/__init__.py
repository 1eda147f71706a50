"""The gateway: HTTP and gRPC for the SDKs of the original, speaking the native protocol to a node."""
