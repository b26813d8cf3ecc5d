"""Many sets ("bags") of instances, stored flat, and cheap ways to compute with bags of different sizes."""

from hopfield.bags.bags import Bags
from hopfield.bags.groups import Group

__all__ = ["Bags", "Group"]
