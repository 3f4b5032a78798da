"""The storages that the demo starts itself, one module for each cloud."""
