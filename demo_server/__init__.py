"""The demo: `python -m demo_server` serves the API and the page, on a storage of its own or on a bucket of yours."""
