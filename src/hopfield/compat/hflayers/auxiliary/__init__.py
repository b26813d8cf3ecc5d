"""The original's small data sets."""
