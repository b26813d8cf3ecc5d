"""Measurements against rivals: `make bench`."""
