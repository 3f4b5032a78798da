#!/bin/sh
# Provides the programs that cannot be installed into a virtual environment.
#
#   system_packages.sh check NEED...     exits with an error, and says what to do, if something is missing and cannot be installed here
#   system_packages.sh install NEED...   installs what is missing: as root, from Debian's packages
#
# NEED is `venv` (Python can create virtual environments), `chromium` (for the browser tests), `firefox` or `webkit` (for those
# in each engine) or `wrk` (for the benchmarks).
# The environment variable PYTHON names the interpreter; the default is python3.
set -eu
python=${PYTHON:-python3}
action=$1
shift

on_path() {
    for name in "$@"; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

missing=
packages=
need() {
    missing="$missing
  - $1"
    packages="$packages $2"
}

browser_is_missing=false
for wanted in "$@"; do
    case $wanted in
    venv)
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "presign needs Python 3.10 or later, but '$python' is not one." >&2
            echo "Install Python, or name another interpreter: make PYTHON=/path/to/python3.12 ..." >&2
            exit 1
        fi
        # Debian's python3 comes without ensurepip.
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            need "'$python' cannot create virtual environments" "python$version-venv"
        fi
        ;;
    chromium)
        if ! on_path chromium chromium-browser google-chrome google-chrome-stable; then
            # The Node.js inside playwright loads libatomic.so.1, which only recommended packages of Chromium would bring.
            need "the browser tests need Chromium or Chrome on PATH" "chromium libatomic1"
            browser_is_missing=true
        fi
        ;;
    firefox)
        if ! on_path firefox-esr; then need "the tests in Firefox need firefox-esr on PATH" firefox-esr; fi
        ;;
    webkit)
        if ! on_path WebKitWebDriver; then need "the tests in WebKit need WebKitWebDriver on PATH" webkit2gtk-driver; fi
        if ! on_path Xvfb; then need "the tests in WebKit need Xvfb on PATH, as a display" xvfb; fi
        ;;
    wrk)
        if ! on_path wrk; then need "the benchmarks need wrk on PATH" wrk; fi
        ;;
    *)
        echo "system_packages.sh does not know '$wanted'" >&2
        exit 2
        ;;
    esac
done

if [ -z "$packages" ]; then exit 0; fi

if [ "$(id -u)" != 0 ] || ! on_path apt-get; then
    {
        echo "Something is missing on this machine:$missing"
        if on_path apt-get; then echo "Install it: sudo apt-get install$packages"; fi
        if $browser_is_missing; then echo "Run the tests that need no browser: make test-without-browser"; fi
    } >&2
    exit 1
fi
if [ "$action" = check ]; then exit 0; fi

echo "Installing$packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Recommended packages are left out: for Chromium they are 120 more, among them a desktop's printer settings.
if ! {
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 $packages
} >"$log" 2>&1; then
    cat "$log" >&2
    echo "apt-get could not install$packages" >&2
    exit 1
fi
