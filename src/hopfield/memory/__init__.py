"""Memories: where patterns live and how they are retrieved."""

from hopfield.memory.associative import AssociativeMemory

__all__ = ["AssociativeMemory"]
