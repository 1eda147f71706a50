#!/usr/bin/env bash
# Makes the Python code of the SDKs' protobuf messages from the .proto file: build_proto.sh [--check]
# With --check nothing is changed; exit code 1 if what is checked in is not what the .proto file says.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$ROLLBOOK_ROOT"

folder=runtime/gateway/wire
made="$(mktemp -d)"
trap 'rm -rf -- "$made"' EXIT
"$ROLLBOOK_PYTHON" -m grpc_tools.protoc --proto_path="$folder" --python_out="$made" --pyi_out="$made" sdk.proto
for name in sdk_pb2.py sdk_pb2.pyi; do
    if [[ "${1:-}" == --check ]]; then
        cmp --silent -- "$made/$name" "$folder/$name" || {
            _say "$folder/$name is not what sdk.proto says: run scripts/build_proto.sh"
            exit 1
        }
    else
        cp -- "$made/$name" "$folder/$name"
    fi
done
