"""Retrieval that looks at few of many patterns, with a proof of what the others can change."""

from hopfield.memory.index.groups import Index

__all__ = ["Index"]
