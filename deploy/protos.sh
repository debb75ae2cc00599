#!/bin/sh
# Generates proto/gen (or the directory given) from proto/dlibos. The output is committed; `make check` compares it.
set -eu
cd "$(dirname "$0")/.."
out="${1:-proto/gen}"
mkdir -p "$out"
# The mypy plugins are looked up on PATH, which need not hold the virtual environment.
PATH="$PWD/.venv/bin:$PATH"
.venv/bin/python -m grpc_tools.protoc -I proto --python_out="$out" --grpc_python_out="$out" \
    --mypy_out="quiet:$out" --mypy_grpc_out="quiet,only_async:$out" \
    $(find proto/dlibos -name '*.proto' | sort)
