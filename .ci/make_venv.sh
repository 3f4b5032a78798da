#!/bin/sh
# Makes a virtual environment with uv, the installer that reads the lock files, in it.
# Usage: make_venv.sh PYTHON DIRECTORY
set -eu
python=$1
venv=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "presign needs Python 3.10 or later, and '$python' is not one." >&2
    echo "Install it, or name another: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

# Debian's python3 comes without ensurepip.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing python3-venv"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    else
        echo "'$python' cannot make virtual environments; on Debian: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi

echo "Making a virtual environment in $venv"
"$python" -m venv --clear "$venv"
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# The lines of one package in the lock: its pin, and its hashes on lines that end with a backslash.
awk '/^uv==/ { keep = 1 } keep { print } keep && !/\\$/ { exit }' requirements-dev.lock > "$pinned"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$pinned"
touch "$venv/.python"
