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
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.bags.inputs import refuse_masks
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.estimators.batches import held_out, pieces, sample, weighted_loss
from hopfield.estimators.devices import as_device, seed_of
from hopfield.estimators.embedding import Start, dense, instance_embedding, starts
from hopfield.estimators.inputs import as_bags, bag_weights, check_labels, is_table
from hopfield.estimators.network import BagNetwork, attention_to_evidence
from hopfield.estimators.settings import Embedding, check_settings, of_json, to_json
from hopfield.estimators.stack import History, Schedule, Stack, seeded, train
from hopfield.files import Kind
from hopfield.nn.pooling import HopfieldPooling
from hopfield.nn.sequences import LETTERS, check_rows
from hopfield.progress import progress_bar

FILE = Kind("hopfield.HopfieldBagClassifier", 1, "classifier", "HopfieldBagClassifier.save")

# instances in a batch of the size "auto" at most, and in evaluation
_MOST = 1 << 16
# bags in a batch of the size "auto" at most, and batches in an epoch at least, if bags are small enough
_BAGS, _BATCHES = 32, 6
# instances that are not standardised may be as large
_LARGEST = 1e15


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
            instances are encoded amino-acid sequences (`hopfield.nn.SequenceEmbedding`), whose kernels begin with
            motifs that differ between the classes; unless there is a `key`, pooling then has one head and no
            projections; see `for_sequences`. Or a function from the shape of an instance to a module that embeds
            (total, *shape) as (total, size).
        key: sizes of further layers between the embedding and what is compared with the states; () for none.
        heads: number of heads of the pooling.
        head_size: their size k.
        states: number of learned states.
        beta: inverse temperature; None: 1/√k; "learned": one for each head, which begins at 1/√k.
        separation: name or object, see `hopfield.separation`.
        steps: number of updates of the states.
        hidden: sizes of the layers between the pooled bag and the logits; () for none.
        standardize: whether columns are standardised (by the training instances) and clipped at ±5. Not done to
            encoded sequences or other integers.
        dropout: of embedded instances and pooled bags.
        bag_dropout: share of the instances of a bag that are left out, drawn anew in every step; one is always left.
        top_share: share of the instances of a bag through which gradients pass, those with the largest weights; 1:
            all. For bags of very many instances: all count in the output, but memory is needed for these only. At
            least 256 instances of a bag are among them.
        n_estimators: number of networks.
        epochs: passes over the training bags.
        batch_size: instances in a batch (at least one bag is); "auto": as many as 32 bags have on average, but
            at most a sixth of all and 65,536.
        learning_rate: of AdamW in the first epoch.
        decay: its factor from one epoch to the next.
        weight_decay: of AdamW.
        label_smoothing: share of each label that is spread evenly over all classes. Without it, 0, networks become sure
            of whatever they learnt by heart, and the mean over networks is that of the surest. With it, probabilities
            keep away from 0 and 1: from 0.1 to 0.9 of two classes, roughly, where it is 0.2.
        class_weight: None, "balanced", or {class: weight}.
        early_stopping: whether every network keeps the parameters of its best epoch, by the loss on a share of the
            training bags that it does not learn from.
        validation_fraction: that share; drawn anew for every network, stratified.
        patience: stop when no network has become better for so many epochs.
        random_state: seed, `numpy.random.RandomState`, or None for other numbers every time. The same seed on the same
            machine gives the same numbers.
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
    _settings: dict[str, Any]

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
        label_smoothing: float = 0.2,
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
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @classmethod
    def for_sequences(cls, **different: Any) -> Self:
        """A classifier of repertoires, that is, of bags of very many encoded sequences (`load_repertoires`).

        The kernels of `embedding="sequences"` begin with the motifs of four letters that tell the classes of the
        training bags apart best, so a few epochs are enough. The gradient passes through the tenth
        of the sequences with the largest weights.

        Args:
            different: parameters of the classifier. Those not given are as in the constructor, but for n_estimators=1,
                epochs=8, learning_rate=0.003, decay=0.8, top_share=0.1, label_smoothing=0.
        """
        settings: dict[str, Any] = {"embedding": "sequences", "n_estimators": 1, "top_share": 0.1}
        settings |= {"epochs": 8, "learning_rate": 0.003, "decay": 0.8, "label_smoothing": 0.0}
        return cls(**settings | different)

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
        weights = bag_weights(fitted.classes_, targets, fitted.class_weight, sample_weight)
        fitted._settings = copy.deepcopy(fitted.get_params(deep=False))  # set_params does not change what was learnt
        fitted._stack = fitted._train(bags, targets, weights.unsqueeze(0))
        self.__dict__ = fitted.__dict__
        return self

    def cross_decision(self, X: Any, y: Any, test: Any, *, sample_weight: Any = None) -> np.ndarray:
        """Decisions of cross-validation, with the networks of all folds trained at once.

        For every fold networks are trained as `fit` does on the bags outside its test part, and decide about all bags.
        Nothing of a test part reaches the networks of its fold: it has no weight in their loss and no share in their
        standardisation or motifs. Only how many instances its bags have shapes the batches, which all folds have in
        common. The estimator itself is not fitted.

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
        refuse_masks("test", test)
        wanted = f"test must be bool (folds, {len(bags)}), True for test bags"
        try:
            mask = torch.from_numpy(np.array(test))
        except (TypeError, ValueError) as error:
            raise HopfieldError(
                f"{wanted}: {error}; np.arange(n) % 5 == np.arange(5)[:, None] is five folds"
            ) from error
        if mask.dtype != torch.bool or mask.dim() != 2 or not len(mask) or mask.shape[1] != len(bags):
            raise HopfieldError(f"{wanted}; got {mask.dtype} {tuple(mask.shape)}")
        given = (other.classes_, targets, other.class_weight, sample_weight)
        weights = torch.stack([bag_weights(*given, ~fold) for fold in mask])
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

    def _train(self, bags: Bags, targets: Tensor, weights: Tensor) -> Stack:
        """Networks for every row of weights (F, B), `n_estimators` each, trained at once."""
        device = self._device
        seed = seed_of(self.random_state)
        with seeded(seed, device) as generator, progress_bar(shown=self.verbose) as progress:
            members = weights.repeat_interleave(self.n_estimators, 0)  # (M, B)
            held = held_out(targets, members, self.validation_fraction, seed) if self.early_stopping else None
            learnt = members if held is None else members * ~held
            training = (weights if held is None else learnt) > 0
            taken = starts(self.embedding, bags, targets, training, standardize=self.standardize)
            times = 1 if held is not None else self.n_estimators
            stack = Stack([self._network(start).to(device) for start in taken for _ in range(times)])
            targets = targets.to(device)

            def losses(which: Tensor, logits: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
                weight = weight[:, which].to(device)
                of_bags = targets[which.to(device)]
                return weighted_loss(logits, of_bags, weight, float(self.label_smoothing)), weight.sum(1)

            def loss(which: Tensor) -> tuple[Tensor, Tensor]:
                batch = bags[which].to(device)
                offsets, rows = sample(batch, stack.members, self.bag_dropout)
                return losses(which, stack(batch, offsets, each=(rows,)), learnt)

            def validate() -> Tensor:
                assert held is not None
                each = pieces(bags, _MOST // stack.members)
                parts = [losses(which, stack(bags[which].to(device)), members * held) for which in each]
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

    def _network(self, start: Start = None) -> BagNetwork:
        """One network with a copy of what was taken from its training part."""
        options: dict[str, Any] = {"dropout": self.dropout, "standardize": self.standardize, "start": start}
        embedding, size = instance_embedding(self.embedding, self._shape, self._dtype, **options)
        key = dense([size, *self.key], self.dropout) if self.key else None
        pooling, pooled = self._pooling(size, int(self.key[-1]) if self.key else size)
        count = len(self.classes_) if len(self.classes_) > 2 else 1
        output = nn.Sequential(nn.Dropout(self.dropout), dense([pooled, *self.hidden, count], self.dropout, last=False))
        return BagNetwork(embedding, pooling, output, key, self.top_share)

    def _pooling(self, size: int, key_size: int) -> tuple[nn.Module, int]:
        """What pools bags of embedded instances, and how many numbers it makes of a bag."""
        if self.embedding == "sequences" and not self.key:
            return attention_to_evidence(int(self.states), self.beta, self.separation, int(self.steps))
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

    def _batches(self, bags: Bags, generator: torch.Generator) -> Iterator[Tensor]:
        """The bags of every batch of an epoch, (b,) each."""
        size = self.batch_size
        if isinstance(size, str):
            share = min(1 / _BATCHES, _BAGS / len(bags))  # of all instances
            size = min(_MOST, math.ceil(share * bags.total))
        return pieces(bags, int(size), torch.randperm(len(bags), generator=generator))

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
                parts = [network.instance_weights(bags[which].to(self._device)).cpu() for which in pieces(bags, _MOST)]
                weights += torch.cat([*parts, weights[:0]]) / self._stack.members
        return [part.numpy() for part in bags.with_instances(weights)]

    @property
    def networks_(self) -> list[BagNetwork]:
        """The trained networks, as modules of PyTorch: from `Bags` to logits (B, 1) or (B, C)."""
        check_is_fitted(self, "_stack")
        return [self._stack.member(i) for i in range(self._stack.members)]  # type: ignore[misc]  # what it was made of

    @property
    def _device(self) -> torch.device:
        return as_device(self.device)

    def _logits(self, stack: Stack, bags: Bags) -> Tensor:
        """(M, B, C), on the CPU."""
        if not len(bags):
            raise HopfieldError("no bags to decide about: found array with 0 sample(s), at least 1 is required")
        with torch.no_grad():
            parts = [stack(bags[which].to(self._device)).cpu() for which in pieces(bags, _MOST // stack.members)]
        return torch.cat(parts, 1)

    # ---------------------------------------------------------------------------------------------------------- checks

    def _bags(self, X: Any, *, reset: bool) -> Bags:
        """Bags of the form that was learnt from, or that will be."""
        if isinstance(getattr(X, "bags", None), Bags):
            raise HopfieldError(f"X must be bags, got {type(X).__name__}; give its .bags")
        refuse_masks("bags", X)
        table = is_table(X)
        given = validate_data(self, X, reset=reset, dtype=np.float32) if table else X
        settings = vars(self) if reset else self._settings  # what set_params changes after the fit does not count
        sequences = isinstance(settings["embedding"], str)
        bags = as_bags(given, integers=_takes_integers(settings["embedding"], X))
        if sequences:
            check_rows(bags.instances, LETTERS)
        elif callable(settings["embedding"]) or not settings["standardize"]:
            _check_size(bags)
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
        elif sequences:
            pass  # padding means nothing, nor does the type of integers
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
            "settings": to_json(self._settings),
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
            model._settings = model.get_params(deep=False)
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


def _takes_integers(embedding: Embedding, X: Any) -> bool:
    """Whether integers are kept as they are: scikit-learn makes a list of tensors of a part of `Bags`."""
    if callable(embedding):
        return isinstance(X, list) and all(isinstance(bag, Tensor) for bag in X)
    return isinstance(embedding, str)


def _check_size(bags: Bags) -> None:
    """Refuse numbers whose squares single precision cannot hold, for no standardisation will make them small."""
    if bags.instances.is_floating_point() and bags.total:
        most = float(bags.instances.abs().amax())
        if most > _LARGEST:
            raise HopfieldError(
                f"instances must be at most {_LARGEST:g} in magnitude, got {most:g}: single precision cannot hold "
                "their squares; scale them, or use standardize=True"
            )
