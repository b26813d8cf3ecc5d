"""What comes into the estimators of bags: bags in any of their forms, labels and weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from torch import Tensor

from hopfield.bags import Bags
from hopfield.bags.inputs import refuse_masks
from hopfield.errors import HopfieldError
from hopfield.estimators.settings import is_number

_FORMS = (
    "bags must be hopfield.Bags, a list of arrays (n, d), a padded array (B, N, d) whose padding is NaN, or an array "
    "(B, d) of bags with one instance each"
)


def as_bags(X: Any, *, finite: bool = True, integers: bool = False) -> Bags:
    """Bags from any of their forms: of float32 numbers, or of integers as they are where `X` is `Bags`.

    Args:
        X: the bags.
        finite: whether NaN and infinity are refused.
        integers: whether integers stay as they are in every form.

    Raises:
        HopfieldError: another form, bags that do not fit together, NaN or infinity.
    """
    bags = X if isinstance(X, Bags) else _bags_of(X)
    if bags.instances.is_complex():
        raise HopfieldError(f"{_FORMS}. Complex data not supported")
    if bags.instances.is_floating_point() or not (integers or isinstance(X, Bags)):
        bags = bags.with_instances(bags.instances.detach().float())
    if finite and bags.instances.is_floating_point():
        _check_finite(bags)
    return bags


def _bags_of(X: Any) -> Bags:
    if hasattr(X, "toarray"):
        raise HopfieldError(f"{_FORMS}, got a sparse matrix. Sparse data was passed, but dense data is required")
    if hasattr(X, "to_numpy") or (hasattr(X, "__array__") and not isinstance(X, np.ndarray | Tensor)):
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim <= 1:
        X = list(X) if X.ndim else X.item()
    if isinstance(X, Sequence) and not isinstance(X, str | bytes) and len(X) and _is_ragged(X):
        return Bags.from_list([_numbers(f"bag {i}", bag) for i, bag in enumerate(X)])
    array = _numbers("bags", X)
    if array.dim() == 3:
        padding = torch.isnan(array).all(-1) if array.is_floating_point() else torch.zeros(array.shape[:2]).bool()
        return Bags.from_padded(array, ~padding)
    if array.dim() == 2:
        return Bags(array, torch.arange(len(array) + 1))
    if array.dim() == 1:
        raise HopfieldError(
            f"{_FORMS}; got an array of one dimension. Reshape your data: X.reshape(-1, 1) for instances of one number"
        )
    raise HopfieldError(f"{_FORMS}; got an array of shape {tuple(array.shape)}")


def is_table(X: Any) -> bool:
    """Whether this is an array or table with one row per bag, or something that is neither that nor bags."""
    if isinstance(X, Bags):
        return False
    if isinstance(X, np.ndarray):
        return not (X.ndim == 3 or (X.dtype == object and X.ndim == 1 and len(X) and _is_ragged(list(X))))
    if isinstance(X, Tensor):
        return X.dim() != 3
    return not (isinstance(X, Sequence) and not isinstance(X, str | bytes) and len(X) and _is_ragged(X))


def _is_ragged(X: Sequence[Any]) -> bool:
    """Whether a sequence holds one set of instances per bag, rather than the rows of one array."""
    return all(getattr(bag, "ndim", 0) >= 2 or hasattr(bag, "iloc") for bag in X) or any(
        isinstance(bag, Sequence) and len(bag) and isinstance(bag[0], Sequence | np.ndarray | Tensor) for bag in X
    )


def _numbers(name: str, given: Any) -> Tensor:
    """Numbers as a tensor."""
    if isinstance(given, Tensor):
        return given
    refuse_masks(name, given)
    try:
        array = np.asarray(given)
        if array.dtype == object:
            array = array.astype(np.float64)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"an array of {array.dtype}")
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(native, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise HopfieldError(f"{name} must hold numbers; {_FORMS}; got {type(given).__name__} ({error})") from error


def _check_finite(bags: Bags) -> None:
    if bags.instances.dim() < 2:
        raise HopfieldError(
            f"instances must be rows of numbers (total, d) or have more dimensions, got shape "
            f"{tuple(bags.instances.shape)}; instances.unsqueeze(1) has one number in each row"
        )
    finite = bags.instances.flatten(1).isfinite().all(1)
    if bool(finite.all()):
        return
    wrong = int((~finite).nonzero()[0])
    which = int(torch.searchsorted(bags.offsets, wrong, right=True)) - 1
    row = bags.instances[wrong]
    what = "NaN" if bool(row.isnan().any()) else "infinity"
    raise HopfieldError(
        f"instances must be finite, but instance {wrong - int(bags.offsets[which])} of bag {which} contains {what}; "
        "leave such instances out or fill in what is missing (InstanceTransformer(SimpleImputer()), say)"
    )


def check_labels(y: Any, count: int) -> np.ndarray:
    """One label per bag, (B,).

    Raises:
        HopfieldError: no labels, another number of them, several columns, missing ones.
    """
    if y is None:
        raise HopfieldError("labels y are missing: this estimator requires y to be passed, but the target y is None")
    refuse_masks("labels", y)
    labels = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        import warnings

        from sklearn.exceptions import DataConversionWarning

        warnings.warn(
            "A column-vector y was passed when a 1d array was expected; use y.ravel()",
            DataConversionWarning,
            stacklevel=3,
        )
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise HopfieldError(f"labels must be one per bag, (B,); got bad input shape {labels.shape}")
    if len(labels) != count:
        raise HopfieldError(
            f"every bag needs one label: got {count} bags and {len(labels)} labels; "
            "for one label per instance take the first of each bag"
        )
    missing = [i for i, label in enumerate(labels.tolist()) if label is None or label != label]  # noqa: PLR0124  # NaN
    if missing:
        raise HopfieldError(
            f"labels are missing (None or NaN) for {len(missing)} bags, the first is bag {missing[0]}; leave them out"
        )
    if labels.dtype == object and len({isinstance(label, str) for label in labels}) > 1:
        raise HopfieldError("labels must be all strings or all numbers, got a mixture; use [str(label) for label in y]")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise HopfieldError(f"labels must be finite, but that of bag {np.isinf(labels).argmax()} is infinity")
    return labels


def bag_weights(
    classes: np.ndarray, targets: Tensor, class_weight: Any, sample_weight: Any, training: Tensor | None = None
) -> Tensor:
    """The weight of each bag, (B,): its own times that of its class; 0 outside the training part, bool (B,).

    Raises:
        HopfieldError: weights that make no sense, or leave nothing of a class.
    """
    if sample_weight is None:
        own = torch.ones(len(targets), dtype=torch.float64)
    else:
        wanted = f"sample_weight must be one finite number of at least 0 per bag, ({len(targets)},)"
        refuse_masks("sample_weight", sample_weight)
        try:
            given = sample_weight.detach().cpu() if isinstance(sample_weight, Tensor) else sample_weight
            own = torch.from_numpy(np.array(given, dtype=np.float64))
        except (TypeError, ValueError, OverflowError) as error:
            raise HopfieldError(f"{wanted}: {error}") from error
        if own.shape != targets.shape:
            raise HopfieldError(f"{wanted}; got shape {tuple(own.shape)}")
        if not bool((own.isfinite() & (own >= 0)).all()):
            raise HopfieldError(f"{wanted}; got {float(own[~(own.isfinite() & (own >= 0))][0])}")
        lacking = [name for i, name in enumerate(classes.tolist()) if not own[targets == i].any()]
        if lacking:
            raise HopfieldError(
                f"sample_weight is zero for all bags of {', '.join(map(repr, lacking))}: a bag of weight zero is "
                "left out, and a classifier learns from examples of each class"
            )
    training = own > 0 if training is None else training & (own > 0)
    weight = class_weight
    if isinstance(weight, dict):
        unknown = set(weight) - set(classes.tolist())
        if unknown:
            raise HopfieldError(f"class_weight has classes that no bag has: {sorted(map(str, unknown))}")
        if not all(is_number(value) and 0 < value < math.inf for value in weight.values()):
            raise HopfieldError(f"class_weight must be finite numbers above 0, got {weight!r}")
        weight = {i: weight.get(name, 1.0) for i, name in enumerate(classes.tolist())}
    present = targets[training].numpy()
    if len(np.unique(present)) < len(classes):
        raise HopfieldError("a training part lacks a class: stratify the folds, or use fewer of them")
    of_class = torch.from_numpy(compute_class_weight(weight, classes=np.arange(len(classes)), y=present))
    # only the ratios count, and neither products nor sums may overflow
    weights = own / own.max() * (of_class / of_class.max())[targets] * training
    weights = (weights / weights.max()).float()
    if not bool(weights.isfinite().all()) or not bool((weights[training] > 0).all()):
        raise HopfieldError(
            "class_weight and sample_weight differ too much from bag to bag: single precision cannot hold them"
        )
    return weights
