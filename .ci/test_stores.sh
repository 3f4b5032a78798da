#!/bin/sh
# Gets the S3 servers that are too large for `make test`, tries all of them, and writes what it saw into tests/stores/results.json
# and docs/stores.md. A server that it cannot get is named, the others are tried, and the exit status is then not 0.
# Usage: test_stores.sh PYTHON PYTEST-ARGUMENT...
set -eu
python=$1
shift

missing=false
"$python" -m emulators.stores install || missing=true
stores=$("$python" -m emulators.stores found | paste -sd, -)
echo "Testing seaweedfs${stores:+,$stores}"
PRESIGN_STORES="seaweedfs${stores:+,$stores}" "$python" -m pytest --numprocesses 0 --quiet tests/stores/test_stores.py "$@"
"$python" -m pytest --numprocesses 0 --quiet tests/stores/test_results.py
if $missing; then
    echo "Not every store was tested; the reasons are above. The tables keep the earlier results of the others." >&2
    exit 1
fi
