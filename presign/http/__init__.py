"""The HTTP contract, without any web framework: every framework's adapter is written over these modules."""
