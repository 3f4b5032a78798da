"""Applications in Python that presign is compared with; ``bench/express/`` is the one in JavaScript."""
