"""A classifier of bags in the manner of scikit-learn."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.estimators.inputs import as_bags, check_labels, is_table
from hopfield.estimators.network import BagNetwork, Standardize, dense
from hopfield.estimators.settings import Embedding, check_settings, is_number, of_json, to_json
from hopfield.estimators.stack import History, Schedule, Stack, seeded, train
from hopfield.files import Kind
from hopfield.nn.pooling import HopfieldPooling
from hopfield.nn.sequences import SequenceEmbedding
from hopfield.progress import progress_bar

FILE = Kind("hopfield.HopfieldBagClassifier", 1, "classifier", "HopfieldBagClassifier.save")

# instances in a batch of the size "auto" at most, and in evaluation
_MOST = 1 << 16
# bags in a batch of the size "auto" at most, and batches in an epoch at least, if bags are small enough
_BAGS, _BATCHES = 32, 6


class HopfieldBagClassifier(ClassifierMixin, BaseEstimator):
    """Classify bags (sets) of instances: multiple-instance learning with Hopfield pooling.

    Every instance is embedded, the bag is pooled by attention from learned states (Z = softmax(β Q Kᵀ) V, Ramsauer et
    al. 2021, Sec. 3 and appendix A.5.2), and layers behind it say the class. Several such networks with different
    random numbers are trained at once, and their logits averaged.

    Bags may be `hopfield.Bags`, a list of arrays (n_i, d), a padded array (B, N, d) whose padding is NaN, or an array
    or table (B, d) of bags with one instance each. An empty bag is classified by what is left of the network, that is,
    by how frequent the classes are.

    Args:
        embedding: sizes of the layers (linear, ReLU, dropout) that embed an instance; () for none. "sequences": the
            instances are encoded amino-acid sequences (`hopfield.nn.SequenceEmbedding`). Or a function from the shape
            of an instance to a module that embeds (total, *shape) as (total, size).
        key: sizes of further layers between the embedding and what is compared with the states; () for none.
        heads: number of heads of the pooling.
        head_size: their size k.
        states: number of learned states.
        beta: inverse temperature; None: 1/√k; "learned": one per head, from there on.
        separation: name or object, see `hopfield.separation`.
        steps: number of updates of the states.
        hidden: sizes of the layers between the pooled bag and the logits; () for none.
        standardize: whether columns are standardised (by the training instances) and clipped at ±5. Not done to
            encoded sequences or other integers.
        dropout: of embedded instances and pooled bags.
        bag_dropout: share of the instances of a bag that are left out, at random in every step; one is always left.
        top_share: share of the instances of a bag through which gradients pass, those with the largest weights; 1:
            all. For bags of very many instances. Bags of up to 256 are used whole.
        n_estimators: number of networks.
        epochs: passes over the training bags.
        batch_size: instances in a batch (at least one bag is); "auto": as many as 32 bags have on average, but
            at most a sixth of all and 65,536.
        learning_rate: of AdamW in the first epoch.
        decay: its factor from one epoch to the next.
        weight_decay: of AdamW.
        class_weight: None, "balanced", or {class: weight}.
        early_stopping: whether every network keeps the parameters of its best epoch, by the loss on a share of the
            training bags that it does not learn from.
        validation_fraction: that share; drawn anew for every network, stratified.
        patience: stop when no network has become better for so many epochs.
        random_state: seed, generator of numpy, or None for other numbers every time. The same seed on the same machine
            gives the same numbers.
        device: where to compute; None: the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        classes_: the class labels, sorted.
        n_features_in_: number of columns of an instance (not for instances of another form than rows).
        history_: losses of every epoch, `hopfield.estimators.stack.History`.

    Example:
        >>> from hopfield.estimators import HopfieldBagClassifier
        >>> model = HopfieldBagClassifier(random_state=0).fit(bags, labels)
        >>> model.predict_proba(other_bags), model.instance_weights(other_bags)
    """

    _stack: Stack

    def __init__(
        self,
        *,
        embedding: Embedding = (128,),
        key: Sequence[int] = (),
        heads: int = 8,
        head_size: int = 16,
        states: int = 1,
        beta: float | Literal["learned"] | None = 1.0,
        separation: str | Separation = "softmax",
        steps: int = 1,
        hidden: Sequence[int] = (),
        standardize: bool = True,
        dropout: float = 0.2,
        bag_dropout: float = 0.5,
        top_share: float = 1.0,
        n_estimators: int = 8,
        epochs: int = 60,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: float = 1e-3,
        decay: float = 0.97,
        weight_decay: float = 0.01,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        patience: int = 10,
        random_state: Any = None,
        device: str | torch.device | None = None,
        verbose: bool = False,
    ) -> None:
        self.embedding = embedding
        self.key = key
        self.heads = heads
        self.head_size = head_size
        self.states = states
        self.beta = beta
        self.separation = separation
        self.steps = steps
        self.hidden = hidden
        self.standardize = standardize
        self.dropout = dropout
        self.bag_dropout = bag_dropout
        self.top_share = top_share
        self.n_estimators = n_estimators
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decay = decay
        self.weight_decay = weight_decay
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # -------------------------------------------------------------------------------------------------------- learning

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from bags and their labels.

        Args:
            X: bags, in one of the forms above.
            y: one label per bag, (B,), of at least two classes.
            sample_weight: one weight per bag, (B,); None: all 1. A bag of weight 0 is left out.

        Raises:
            HopfieldError: bags that do not fit together, NaN, labels that are missing or all the same, weights that
                are all zero in a class, parameters out of range.
        """
        fitted = copy.copy(self)  # bad input and an interrupt leave an earlier fit as it is
        bags, targets = fitted._begin(X, y)
        weights = fitted._weights(targets, sample_weight)
        fitted._stack = fitted._train(bags, targets, weights.unsqueeze(0))
        self.__dict__ = fitted.__dict__
        return self

    def cross_decision(self, X: Any, y: Any, test: Any, *, sample_weight: Any = None) -> np.ndarray:
        """Decisions of cross-validation, with the networks of all folds trained at once.

        For every fold networks are trained as `fit` does on the bags outside its test part, and decide about all bags.
        Nothing of a test part reaches the networks of its fold: it has no weight in their loss and no share in their
        standardisation. The estimator itself is not fitted.

        Args:
            X: bags.
            y: one label per bag.
            test: bool (F, B), True where a bag belongs to the test part of a fold.
            sample_weight: one weight per bag, (B,).

        Returns:
            What `decision_function` would give, (F, B), or (F, B, C) for more than two classes.
        """
        other = copy.copy(self)  # with the same parameters: what was fitted stays as it is
        bags, targets = other._begin(X, y)
        mask = torch.as_tensor(np.asarray(test))
        if mask.dtype != torch.bool or mask.dim() != 2 or mask.shape[1] != len(bags):
            raise HopfieldError(
                f"test must be bool (folds, {len(bags)}), True for test bags; got {mask.dtype} {tuple(mask.shape)}"
            )
        weights = torch.stack([other._weights(targets, sample_weight, ~fold) for fold in mask])
        stack = other._train(bags, targets, weights)
        logits = other._logits(stack, bags).unflatten(0, (len(mask), self.n_estimators)).mean(1)  # (F, B, C)
        return _decisions(logits).numpy()

    def _begin(self, X: Any, y: Any) -> tuple[Bags, Tensor]:
        """Check everything, and set what is known before training."""
        check_settings(self)
        bags = self._bags(X, reset=True)
        labels = check_labels(y, len(bags))
        from sklearn.utils.multiclass import check_classification_targets

        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise HopfieldError(
                f"labels must be of at least two classes, got one class only: {self.classes_.tolist()}; "
                "a classifier learns from examples of each"
            )
        return bags, torch.from_numpy(targets.astype(np.int64))

    def _weights(self, targets: Tensor, sample_weight: Any, training: Tensor | None = None) -> Tensor:
        """The weight of each bag, (B,): its own times that of its class; 0 outside the training part."""
        if sample_weight is None:
            own = torch.ones(len(targets))
        else:
            own = torch.as_tensor(np.array(sample_weight, dtype=np.float32))
            if own.shape != targets.shape or not bool((own.isfinite() & (own >= 0)).all()):
                raise HopfieldError(
                    f"sample_weight must be one finite number of at least 0 per bag, ({len(targets)},); "
                    f"got shape {tuple(own.shape)}"
                )
            lacking = [name for i, name in enumerate(self.classes_.tolist()) if not own[targets == i].any()]
            if lacking:
                raise HopfieldError(
                    f"sample_weight is zero for all bags of {', '.join(map(repr, lacking))}: a bag of weight zero is "
                    "left out, and a classifier learns from examples of each class"
                )
        training = own > 0 if training is None else training & (own > 0)
        classes = np.arange(len(self.classes_))
        weight = self.class_weight
        if isinstance(weight, dict):
            unknown = set(weight) - set(self.classes_.tolist())
            if unknown:
                raise HopfieldError(f"class_weight has classes that no bag has: {sorted(map(str, unknown))}")
            if not all(is_number(value) and 0 < value < math.inf for value in weight.values()):
                raise HopfieldError(f"class_weight must be finite numbers above 0, got {weight!r}")
            weight = {i: weight.get(name, 1.0) for i, name in enumerate(self.classes_.tolist())}
        present = targets[training].numpy()
        if len(np.unique(present)) < len(classes):
            raise HopfieldError("a training part lacks a class: stratify the folds, or use fewer of them")
        of_class = torch.from_numpy(compute_class_weight(weight, classes=classes, y=present)).float()
        return own * of_class[targets] * training

    def _train(self, bags: Bags, targets: Tensor, weights: Tensor) -> Stack:
        """Networks for every row of weights (F, B), `n_estimators` each, trained at once."""
        device = self._device
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        with seeded(seed, device) as generator, progress_bar(shown=self.verbose) as progress:
            networks = []
            for row in weights:
                scale = self._scale(bags, row > 0)
                networks += [self._network(scale).to(device) for _ in range(self.n_estimators)]
            stack = Stack(networks)
            weights = weights.repeat_interleave(self.n_estimators, 0)  # (M, B)
            held = self._held_out(targets, weights, seed) if self.early_stopping else None
            learnt = weights if held is None else weights * ~held
            targets = targets.to(device)

            def losses(which: Tensor, keep: Tensor | None, batch: Bags, weight: Tensor) -> tuple[Tensor, Tensor]:
                weight = weight[:, which].to(device)
                return self._loss(stack(batch, each=(keep,)), targets[which.to(device)], weight), weight.sum(1)

            def loss(which: Tensor) -> tuple[Tensor, Tensor]:
                batch = bags[which].to(device)
                return losses(which, self._kept(batch, stack.members), batch, learnt)

            def validate() -> Tensor:
                assert held is not None
                parts = [losses(which, None, bags[which].to(device), weights * held) for which in _pieces(bags, _MOST)]
                total, weight = (torch.stack(part).sum(0) for part in zip(*parts, strict=True))
                return total / weight

            schedule = Schedule(
                self.epochs,
                self.learning_rate,
                self.decay,
                self.weight_decay,
                self.patience if held is not None else math.inf,
            )
            self.history_: History = train(
                stack,
                lambda: self._batches(bags, generator),
                loss,
                schedule,
                validate=validate if held is not None else None,
                progress=progress,
            )
        return stack

    def _scale(self, bags: Bags, training: Tensor) -> Standardize | None:
        """The standardisation by the instances of training bags (B,); None where instances are not standardised."""
        rows_of_numbers = len(self._shape) == 1 and self._dtype == torch.float32
        if not (self.standardize and rows_of_numbers) or callable(self.embedding) or self.embedding == "sequences":
            return None
        rows = training[bags.segments().cpu()].to(bags.device)
        return Standardize(bags.instances.shape[1]).fit(bags.instances[rows].cpu())

    def _network(self, scale: Standardize | None = None) -> BagNetwork:
        """One network with a copy of this standardisation, where instances are standardised."""
        embedding, size = self._embedding(scale)
        key = dense([size, *self.key], self.dropout) if self.key else None
        pooling, pooled = self._pooling(size, int(self.key[-1]) if self.key else size)
        count = len(self.classes_) if len(self.classes_) > 2 else 1
        output = nn.Sequential(nn.Dropout(self.dropout), dense([pooled, *self.hidden, count], self.dropout, last=False))
        return BagNetwork(embedding, pooling, output, key, self.top_share)

    def _embedding(self, scale: Standardize | None) -> tuple[nn.Sequential, int]:
        """What embeds instances, and the size of what comes out."""
        shape, given = self._shape, self.embedding
        if given == "sequences":
            sequences = SequenceEmbedding()
            return nn.Sequential(sequences, nn.Dropout(self.dropout)), sequences.output_size
        if callable(given):
            module = given(shape)
            with torch.no_grad():
                rows = module.train(False)(torch.zeros(2, *shape, dtype=self._dtype))
            if rows.dim() != 2 or len(rows) != 2:
                raise HopfieldError(
                    f"embedding must turn instances (total, {', '.join(map(str, shape))}) into (total, size); "
                    f"got {tuple(rows.shape)} from 2 instances"
                )
            return nn.Sequential(module.train()), rows.shape[1]
        if len(shape) != 1 or self._dtype != torch.float32:
            raise HopfieldError(
                f"layer sizes embed rows of numbers (total, d), got instances of shape {shape} of {self._dtype}; give "
                'embedding="sequences" for encoded sequences, or a function from a shape to a module'
            )
        first = [Standardize(shape[0]) if scale is None else copy.deepcopy(scale)] if self.standardize else []
        sizes = [shape[0], *map(int, given)]
        return nn.Sequential(*first, *dense(sizes, self.dropout)), sizes[-1]

    def _pooling(self, size: int, key_size: int) -> tuple[nn.Module, int]:
        """What pools bags of embedded instances, and how many numbers it makes of a bag."""
        pooling = HopfieldPooling(
            key_size,
            states=int(self.states),  # may be a number of numpy
            heads=int(self.heads),
            head_size=int(self.head_size),
            value_size=size,
            output_size=size,
            beta=self.beta,
            separation=self.separation,
            steps=int(self.steps),
        )
        return pooling, self.states * size

    def _held_out(self, targets: Tensor, weights: Tensor, seed: int) -> Tensor:
        """Validation bags of every member among those it would learn from, (M, B)."""
        held = torch.zeros_like(weights, dtype=torch.bool)
        for member, row in enumerate(weights > 0):
            own = row.nonzero().squeeze(1)
            split = StratifiedShuffleSplit(1, test_size=self.validation_fraction, random_state=(seed + member) % 2**31)
            try:
                _, chosen = next(split.split(own.numpy(), targets[own].numpy()))
            except ValueError as error:
                raise HopfieldError(
                    f"early_stopping needs bags of every class in both parts, and there are only {len(own)} bags: "
                    f"{error}; use more bags, another validation_fraction, or early_stopping=False"
                ) from error
            held[member, own[torch.from_numpy(chosen)]] = True
        return held

    def _batches(self, bags: Bags, generator: torch.Generator) -> Iterator[Tensor]:
        """The bags of every batch of an epoch, (b,) each."""
        size = self.batch_size
        if isinstance(size, str):
            share = min(1 / _BATCHES, _BAGS / len(bags))  # of all instances
            size = min(_MOST, math.ceil(share * bags.total))
        return _pieces(bags, int(size), torch.randperm(len(bags), generator=generator))

    def _kept(self, bags: Bags, members: int) -> Tensor | None:
        """Which instances every member sees, (M, total): some are dropped, but at least one of a bag is left."""
        if not self.bag_dropout or not bags.total:
            return None
        draws = torch.rand(members, bags.total, device=bags.device)
        segments = bags.segments().expand(members, -1)
        best = draws.new_zeros(members, len(bags)).scatter_reduce_(1, segments, draws, "amax")
        return (draws >= self.bag_dropout) | (draws == best.gather(1, segments))

    def _loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Weighted sums of the losses of logits (M, B, C): (M,)."""
        if logits.shape[-1] == 1:
            wanted = targets.to(logits.dtype).expand(logits.shape[:-1])
            losses = F.binary_cross_entropy_with_logits(logits.squeeze(-1), wanted, reduction="none")
        else:
            wide = targets.expand(logits.shape[:-1])
            losses = F.cross_entropy(logits.flatten(0, 1), wide.flatten(), reduction="none").view(wide.shape)
        return (losses * weights).sum(1)

    # -------------------------------------------------------------------------------------------------------- deciding

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, the mean over the networks: (B,) for two classes (positive: the second), else (B, C)."""
        check_is_fitted(self, "_stack")
        return _decisions(self._logits(self._stack, self._bags(X, reset=False)).mean(0)).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, (B, C), in the order of `classes_`."""
        logits = torch.from_numpy(self.decision_function(X)).double()
        if logits.dim() == 1:
            return torch.stack([torch.sigmoid(-logits), torch.sigmoid(logits)], 1).numpy()
        return torch.softmax(logits, 1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of every bag, (B,)."""
        decisions = self.decision_function(X)
        which = (decisions > 0).astype(np.int64) if decisions.ndim == 1 else decisions.argmax(1)
        predicted: np.ndarray = self.classes_[which]
        return predicted

    def instance_weights(self, X: Any) -> list[np.ndarray]:
        """How much every instance counts in its bag: the association weights, the mean over networks, heads and states.

        Returns:
            One array (n_i,) per bag, which sums to 1 (for softmax; empty for an empty bag). A large weight says that
            the network looked there, not in which direction it moved the decision. See `hopfield.plot.bag`.
        """
        check_is_fitted(self, "_stack")
        bags = self._bags(X, reset=False)
        weights = torch.zeros(bags.total)
        with torch.no_grad():
            for network in self.networks_:
                parts = [network.instance_weights(bags[which].to(self._device)).cpu() for which in _pieces(bags, _MOST)]
                weights += torch.cat([*parts, weights[:0]]) / self.n_estimators
        return [part.numpy() for part in bags.with_instances(weights)]

    @property
    def networks_(self) -> list[BagNetwork]:
        """The trained networks, as modules of PyTorch: from `Bags` to logits (B, 1) or (B, C)."""
        check_is_fitted(self, "_stack")
        return [self._stack.member(i) for i in range(self._stack.members)]  # type: ignore[misc]  # what it was made of

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu" if self.device is None else self.device)

    def _logits(self, stack: Stack, bags: Bags) -> Tensor:
        """(M, B, C), on the CPU."""
        if not len(bags):
            raise HopfieldError("no bags to decide about: found array with 0 sample(s), at least 1 is required")
        with torch.no_grad():
            parts = [stack(bags[which].to(self._device)).cpu() for which in _pieces(bags, _MOST // stack.members)]
        return torch.cat(parts, 1)

    # ---------------------------------------------------------------------------------------------------------- checks

    def _bags(self, X: Any, *, reset: bool) -> Bags:
        """Bags of the form that was learnt from, or that will be."""
        table = is_table(X)
        given = validate_data(self, X, reset=reset, dtype=np.float32) if table else X
        bags = as_bags(given, integers=self._takes_integers(X))
        shape = tuple(bags.instances.shape[1:])
        if reset:
            if not len(bags):
                raise HopfieldError("no bags to learn from: found array with 0 sample(s), at least 1 is required")
            self._shape, self._dtype = shape, bags.dtype
            if not table:  # nothing is left of an earlier fit to a table
                self.__dict__.pop("feature_names_in_", None)
                self.__dict__.pop("n_features_in_", None)
            if len(shape) == 1:
                self.n_features_in_ = shape[0]
        elif len(shape) == len(self._shape) == 1 and shape != self._shape:
            raise HopfieldError(
                f"X has {shape[0]} features, but HopfieldBagClassifier is expecting {self._shape[0]} features as input"
            )
        elif shape != self._shape or bags.dtype != self._dtype:
            raise HopfieldError(
                f"instances of shape {shape} of {bags.dtype} came, but HopfieldBagClassifier learnt from "
                f"{self._shape} of {self._dtype}"
            )
        return bags

    def _takes_integers(self, X: Any) -> bool:
        """Whether integers are kept as they are: scikit-learn makes a list of tensors of a part of `Bags`."""
        if callable(self.embedding):
            return isinstance(X, list) and all(isinstance(bag, Tensor) for bag in X)
        return isinstance(self.embedding, str)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_stack")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ------------------------------------------------------------------------------------------------------------ files

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted classifier to a safetensors file: settings, classes and numbers, no code.

        Not in the file are `device`, a `random_state` that is not a number, and `history_`.

        Raises:
            HopfieldError: not fitted, classes that are neither numbers, bools nor strings, the file cannot be written.
        """
        check_is_fitted(self, "_stack")
        description = {
            "settings": to_json(self.get_params(deep=False)),
            "classes": self.classes_.tolist(),
            "shape": self._shape,
            "dtype": str(self._dtype).removeprefix("torch."),
            "features": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }
        try:
            json.dumps(description)
        except TypeError as error:
            raise HopfieldError(f"cannot save this classifier: {error}; settings and classes must be plain") from error
        FILE.write(path, self._stack.state(), description)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        embedding: Embedding | None = None,
        device: str | torch.device | None = None,
    ) -> HopfieldBagClassifier:
        """Read what `save` wrote.

        Args:
            path: the file.
            embedding: the function that was given as `embedding`, if it was one.
            device: where to compute; None: the CPU.

        Raises:
            HopfieldError: a missing, foreign, newer or damaged file, a missing or another embedding.
        """

        def make(tensors: dict[str, Tensor], description: dict[str, Any]) -> HopfieldBagClassifier:
            model = cls(**of_json(description["settings"], embedding) | {"device": device})
            model.classes_ = np.array(description["classes"])
            model._shape = tuple(description["shape"])
            model._dtype = getattr(torch, description["dtype"])
            if len(model._shape) == 1:
                model.n_features_in_ = model._shape[0]
            if description["features"]:
                model.feature_names_in_ = np.array(description["features"], dtype=object)
            check_settings(model)
            with seeded(0, model._device):  # for what is overwritten at once
                networks = [model._network().to(model._device) for _ in range(model.n_estimators)]
            model._stack = Stack(networks).train(False)
            wanted = {name: tensor.shape for name, tensor in model._stack.state().items()}
            if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
                raise HopfieldError(f"{path} does not fit its own settings or the embedding that was given")
            model._stack.load(tensors)
            tensors.clear()
            return model

        return FILE.read(path, make)


def _decisions(logits: Tensor) -> Tensor:
    """(..., B, C) without the last axis where it is the one logit of two classes."""
    return logits.squeeze(-1) if logits.shape[-1] == 1 else logits


def _pieces(bags: Bags, size: int, order: Tensor | None = None) -> Iterator[Tensor]:
    """Bags in this order, in pieces of at most `size` instances or of one bag: (b,) each."""
    order = torch.arange(len(bags)) if order is None else order
    sizes = bags.sizes[order].clamp_min(1).tolist()  # many empty bags are work too
    first = filled = 0
    for i, count in enumerate(sizes):
        if i > first and filled + count > size:
            yield order[first:i]
            first, filled = i, 0
        filled += count
    if first < len(sizes):
        yield order[first:]
