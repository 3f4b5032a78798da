"""The demo: `python -m demo_server` serves the HTTP contract and the page, on a storage of its own or a real one."""
