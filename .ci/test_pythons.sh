#!/bin/sh
# Runs tests under every supported Python that this machine has, each in a virtual environment of its own.
# Usage: test_pythons.sh UV DIRECTORY PYTEST-ARGUMENT...
# PYTHONS names other versions than all supported ones. An interpreter is found as python3.N on PATH, or as a version of pyenv.
set -eu
uv=$1
directory=$2
shift 2

find_python() {
    for candidate in "python$1" "$(pyenv prefix "$1" 2>/dev/null || true)/bin/python"; do
        # A shim of pyenv is on PATH also for versions that are not in use, and fails.
        if "$candidate" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$1" 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

tested=
missing=
failed=
for version in ${PYTHONS:-3.10 3.11 3.12 3.13 3.14}; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        missing="$missing $version"
        continue
    fi
    echo "Python $version ($python)"
    "$uv" venv --quiet --clear --python "$python" "$directory/$version"
    "$uv" pip sync --quiet --require-hashes --python "$directory/$version/bin/python" requirements-dev.lock
    "$directory/$version/bin/python" -m pytest "$@" || failed="$failed $version"
    tested="$tested $version"
done

echo "Tested:${tested:- none}. Not on this machine:${missing:- none}. Failed:${failed:- none}."
[ -n "$tested" ] && [ -z "$failed" ]
