"""Servers that presign's own is measured beside; ``bench/express/`` is the one that is not Python."""
