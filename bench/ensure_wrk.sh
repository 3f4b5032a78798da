#!/bin/sh
# Installs wrk, which loads the measured servers, unless it is on PATH.
set -eu
if command -v wrk >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing wrk"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk >/dev/null
    exit 0
fi
echo "This measurement needs wrk on PATH; on Debian: sudo apt-get install wrk" >&2
exit 1
