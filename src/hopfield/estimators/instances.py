"""Transformers of scikit-learn, applied to the instances of bags."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone

from hopfield.bags import Bags
from hopfield.errors import HopfieldError
from hopfield.estimators.inputs import as_bags, check_labels


class InstanceTransformer(TransformerMixin, BaseEstimator):
    """Apply a transformer to all instances of bags, for use in a `Pipeline` in front of a classifier of bags.

    Args:
        transformer: any transformer of scikit-learn. It is fitted to the instances of all training bags together; if it
            takes labels, each instance comes with the label of its bag.

    Attributes:
        transformer_: the fitted transformer.

    Example:
        >>> from sklearn.decomposition import PCA
        >>> from sklearn.pipeline import make_pipeline
        >>> model = make_pipeline(InstanceTransformer(PCA(20)), HopfieldBagClassifier())
    """

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit(self, X: Any, y: Any = None) -> InstanceTransformer:
        """Fit the transformer to all instances (total, d) of the bags."""
        bags = _numbers(X)
        labels = None if y is None else np.repeat(check_labels(y, len(bags)), bags.sizes.numpy())
        self.transformer_ = clone(self.transformer).fit(_rows(bags), labels)
        return self

    def transform(self, X: Any) -> Bags:
        """The same bags of transformed instances."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        bags = _numbers(X)
        rows = self.transformer_.transform(_rows(bags))
        dense = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
        return bags.with_instances(torch.as_tensor(np.ascontiguousarray(dense, dtype=np.float32)))


def _numbers(X: Any) -> Bags:
    bags = as_bags(X, finite=False)  # the transformer may fill in what is missing
    if bags.instances.dim() != 2:
        raise HopfieldError(f"instances must be rows of numbers (total, d), got shape {tuple(bags.instances.shape)}")
    return bags


def _rows(bags: Bags) -> np.ndarray:
    """A copy of the instances, for there are transformers that write into what they are given."""
    rows: np.ndarray = bags.instances.detach().cpu().numpy().copy()
    return rows
