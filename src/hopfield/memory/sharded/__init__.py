"""Memories over several processes."""
