"""The programs that ``bench.cold`` starts: each makes one ticket, or what an SDK has in its place, and ends."""
