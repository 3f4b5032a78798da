"""Everything that the backends share."""
