"""Comparisons with what people use today, run side by side: `make bench`, or `python -m bench.sign --help` for one."""
