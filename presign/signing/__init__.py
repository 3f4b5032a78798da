"""Pure signing: primitives in, strings out; no clock, no I/O, no SDK."""
