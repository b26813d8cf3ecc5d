"""What the estimators of tables have in common: learning, looking up, explaining, adding, files."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from hopfield.bags.inputs import refuse_masks
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.estimators.devices import as_device, seed_of
from hopfield.estimators.settings import given_settings, plain_settings
from hopfield.estimators.stack import History, Schedule, Stack, seeded
from hopfield.estimators.tables.columns import Columns
from hopfield.estimators.tables.lookup import Lookup, Rule, embed, embedded_prototypes
from hopfield.estimators.tables.network import RowEmbedding, Similarity
from hopfield.estimators.tables.reading import Table, read_table
from hopfield.estimators.tables.settings import categorical_columns, check_settings, spread
from hopfield.estimators.tables.targets import Targets, targets_of
from hopfield.estimators.tables.training import Examples, learn, prototypes
from hopfield.files import Kind
from hopfield.progress import progress_bar

Answer: TypeAlias = Callable[[Targets, Tensor], np.ndarray]
"""What is made of votes (n, v)."""

# rows that are encoded at once
_ROWS = 1 << 13


class TableLookup(BaseEstimator):
    """What the classifier and the regressor have in common; they say what answers are."""

    _file: Kind
    _columns: Columns
    _targets: Targets
    _lookup: Lookup
    _settings: dict[str, Any]

    def __init__(
        self,
        *,
        memory: Literal["training", "prototypes"] = "training",
        prototypes: int = 64,
        width: int = 16,
        hidden: int = 64,
        similarity: Similarity = "euclidean",
        separation: str | Separation = "softmax",
        steps: int = 1,
        scale: Literal["column", "table"] = "column",
        column_dropout: float | tuple[float, float] = (0.0, 0.3),
        dropout: float | tuple[float, float] = (0.0, 0.4),
        noise: float | tuple[float, float] = (0.0, 0.3),
        row_share: float = 0.6,
        memory_share: float = 0.5,
        n_estimators: int = 16,
        iterations: int = 200,
        batch_size: int = 2048,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        categorical_features: Any = "auto",
        random_state: Any = None,
        device: str | torch.device | None = None,
        verbose: bool = False,
    ) -> None:
        self.memory = memory
        self.prototypes = prototypes
        self.width = width
        self.hidden = hidden
        self.similarity = similarity
        self.separation = separation
        self.steps = steps
        self.scale = scale
        self.column_dropout = column_dropout
        self.dropout = dropout
        self.noise = noise
        self.row_share = row_share
        self.memory_share = memory_share
        self.n_estimators = n_estimators
        self.iterations = iterations
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # ------------------------------------------------------------------------------------------------------- learning

    @abstractmethod
    def _answers(self, y: Any, count: int, *, added: bool = False) -> tuple[Targets, np.ndarray]:
        """What is asked for, and the checked answers of the rows; of rows that are added to others or not."""

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from rows and their answers, and keep them as the memory.

        Args:
            X: numbers and categories, (n, d): an array or a data frame.
            y: one answer per row, (n,), or several, (n, number).

        Raises:
            ValueError: what cannot be learnt from; the text says what and where. (`HopfieldError` is one.)
        """
        fitted = copy.copy(self)  # bad input and an interrupt leave an earlier fit as it is
        table, marks, y, targets = fitted._begin(X, y)
        columns = Columns.of(table, marks, shared_scale=self.scale == "table")
        examples = Examples.of([columns.encode(table)], [targets.values(y)])
        fitted._settings = copy.deepcopy(fitted.get_params(deep=False))  # set_params does not change what was learnt
        fitted._columns, fitted._targets = columns, targets
        fitted._lookup = fitted._learn([columns], examples, targets)
        self.__dict__ = fitted.__dict__
        return self

    def add(self, X: Any, y: Any) -> Self:
        """Put rows with their answers into the memory, without learning anew. They may be of new classes.

        Args:
            X: rows (n, d) of the columns learnt from.
            y: their answers.

        Raises:
            ValueError: rows or answers that do not fit, or a memory of prototypes.
        """
        check_is_fitted(self, "_lookup")
        if self._settings["memory"] != "training":
            raise HopfieldError('rows can be added to memory="training" only: prototypes are learnt')
        table = read_table(self, X, reset=False)
        other, y = self._answers(y, len(table), added=True)
        targets, places = self._targets.merged(other)
        known = self._lookup.values
        own = known.new_zeros(*known.shape[:2], targets.size).index_copy(2, places.to(known.device), known)
        self._lookup = self._lookup.extended(self._columns.encode(table), targets.values(y), own)
        self._targets = targets
        return self

    def cross_predict(self, X: Any, y: Any, test: Any) -> np.ndarray:
        """Predictions of cross-validation, with the networks of all folds trained at once.

        For every fold networks learn, as in `fit`, from the rows outside its test part, which are their memory, and
        predict all rows; only the predictions of test rows are honest. Nothing of a test part reaches the networks of
        its fold, but for the random numbers: all folds draw theirs together, as many as the largest one needs. The
        estimator itself is not fitted.

        Args:
            X: rows (n, d).
            y: their answers.
            test: bool (F, n), True where a row belongs to the test part of a fold.

        Returns:
            What `predict` would give, (F, n), or (F, n, number).
        """
        return self._cross(X, y, test, _decided)

    def _cross(self, X: Any, y: Any, test: Any, what: Answer) -> np.ndarray:
        other = copy.copy(self)  # with the same parameters: what was fitted stays as it is
        table, marks, y, targets = other._begin(X, y)
        parts = [np.flatnonzero(~fold) for fold in _folds(test, len(table))]
        columns = [Columns.of(table[part], marks, shared_scale=self.scale == "table") for part in parts]
        own_targets = [targets.refitted(y[part]) for part in parts]
        values = [own.values(y[part]) for own, part in zip(own_targets, parts, strict=True)]
        encoded = [own.encode(table) for own in columns]
        examples = Examples.of([rows[part] for rows, part in zip(encoded, parts, strict=True)], values)
        lookup = other._learn(columns, examples, targets)
        size = examples.rows.shape[2]
        rows = torch.stack([F.pad(own, (0, size - own.shape[1])) for own in encoded])
        return np.stack([what(own, votes) for own, votes in zip(own_targets, lookup.votes(rows), strict=True)])

    def _begin(self, X: Any, y: Any) -> tuple[Table, list[bool], np.ndarray, Targets]:
        """Check everything before anything is learnt."""
        check_settings(self)
        if y is None:
            raise HopfieldError("y is missing: this estimator requires y to be passed, but the target y is None")
        table = read_table(self, X, reset=True)
        targets, y = self._answers(y, len(table))
        said = categorical_columns(self.categorical_features, list(table.names))
        categorical = [not table.is_number(j) if given is None else given for j, given in enumerate(said)]
        return table, categorical, y, targets

    def _learn(self, columns: Sequence[Columns], examples: Examples, targets: Targets) -> Lookup:
        """Networks for each group of examples, trained at once, with the memory of each."""
        device, seed = as_device(self.device), seed_of(self.random_state)
        rule = Rule(self.similarity, self.separation, int(self.steps))
        groups = torch.arange(len(columns)).repeat_interleave(self.n_estimators)  # (M,)
        size = examples.rows.shape[2]
        learnt = self.memory == "prototypes"
        with seeded(seed, device) as generator, progress_bar(shown=self.verbose) as progress:
            starts: list[Tensor | None] = [None] * len(groups)
            values = examples.values[groups] if len(columns) > 1 else examples.values
            if learnt:
                chosen = prototypes(examples, groups, int(self.prototypes), generator)  # (M, P)
                starts = list(examples.rows[groups.unsqueeze(1), chosen])
                values = examples.values[groups.unsqueeze(1), chosen]
            values = values.to(device)
            members = zip(groups.tolist(), starts, strict=True)
            origins = [own.origins for own in columns]
            networks = [self._network(m, origins[g], size, start).to(device) for m, (g, start) in enumerate(members)]
            stack = Stack(networks)
            self.history_: History = learn(
                stack,
                examples,
                targets,
                rule.vote,
                prototypes=values if learnt else None,
                rows_of_own=float(self.row_share),
                share=float(self.memory_share),
                batch=int(self.batch_size),
                schedule=Schedule(self.iterations, self.learning_rate, "cosine", self.weight_decay),
                device=device,
                progress=progress,
            )
        stack.train(False)
        if learnt:
            return Lookup(stack, embedded_prototypes(stack, size), values, rule)
        mask = examples.mask
        mask = None if mask is None else mask[groups].unsqueeze(1).to(device)
        return Lookup(stack, embed(stack, examples.rows), values, rule, mask)

    def _network(self, member: int, origins: Tensor, width: int, start: Tensor | None) -> RowEmbedding:
        """One network, for rows whose encoded columns are filled up to this width."""
        place = member % self.n_estimators / max(1, self.n_estimators - 1)  # from 0 to 1
        return RowEmbedding(
            F.pad(origins, (0, width - len(origins))),
            self.n_features_in_,
            active=len(origins),
            width=int(self.width),
            hidden=int(self.hidden),
            column_dropout=spread(self.column_dropout, place),
            dropout=spread(self.dropout, place),
            noise=spread(self.noise, place),
            prototypes=start,
        )

    # ------------------------------------------------------------------------------------------------------ predicting

    def predict(self, X: Any) -> np.ndarray:
        """The answers for rows, (n,) or (n, number). Millions of rows are looked up piece by piece.

        Args:
            X: rows (n, d) of the columns learnt from.
        """
        return self._predict(X, _decided)

    def _predict(self, X: Any, what: Answer) -> np.ndarray:
        votes = (self._lookup.votes(rows.unsqueeze(0))[0] for rows in self._encoded(X))
        return np.concatenate([what(self._targets, piece) for piece in votes])

    def _encoded(self, X: Any) -> Iterator[Tensor]:
        """The rows of a table piece by piece, (n, D)."""
        check_is_fitted(self, "_lookup")
        table = read_table(self, X, reset=False)
        with progress_bar(shown=self._settings["verbose"]) as progress:
            for start in range(0, len(table), _ROWS):
                yield self._columns.encode(table[start : start + _ROWS])
                progress("rows", min(start + _ROWS, len(table)), len(table))

    def neighbors(self, X: Any, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the memory behind each prediction, and how much each of them counts.

        A prediction is the mean of the answers in the memory under association weights: of classes the shares of the
        weight, of numbers the weighted mean.

        Args:
            X: rows (n, d) of the columns learnt from.
            k: how many, those with the largest weights; at most all.

        Returns:
            weights (n, k), descending, the mean over the networks; and the positions of the rows (n, k), from 0, in
            what came to `fit`, then to `add`; for a data frame frame.iloc[position].

        Raises:
            HopfieldError: k below 1, a memory of prototypes.
        """
        check_is_fitted(self, "_lookup")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise HopfieldError(f"k must be an integer of at least 1, got {k!r}")
        if self._settings["memory"] != "training":
            raise HopfieldError('only memory="training" has rows behind a prediction; prototypes are learnt')
        found = [self._lookup.nearest(rows, int(k)) for rows in self._encoded(X)]
        largest, indices = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
        return largest, indices

    @property
    def networks_(self) -> list[RowEmbedding]:
        """The trained networks, as modules of PyTorch: encoded rows (n, D) -> (n, e)."""
        check_is_fitted(self, "_lookup")
        stack = self._lookup.stack
        return [stack.member(i) for i in range(stack.members)]  # type: ignore[misc]  # what it was made of

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_lookup")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.target_tags.single_output = True
        return tags

    # ------------------------------------------------------------------------------------------------------------ files

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file: settings, encodings and numbers, no code.

        The rows learnt from are in it as the networks embed them. Not in it are `device`, a `random_state` that is not
        a number, and `history_`.

        Raises:
            HopfieldError: not fitted, classes or categories that are neither numbers, bools nor strings, a separation
                function without a name, the file cannot be written.
        """
        tensors, description = self.contents()
        self._file.write(path, tensors, description)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What was learnt, as tensors and as JSON has it.

        Raises:
            HopfieldError: what a file cannot hold, see `save`.
        """
        check_is_fitted(self, "_lookup")
        description = {
            "settings": plain_settings(self._settings),
            "columns": self._columns.describe(),
            "targets": self._targets.describe(),
            "features": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }
        try:
            json.dumps(description)
        except TypeError as error:
            raise HopfieldError(f"cannot save this estimator: {error}; settings and classes must be plain") from error
        lookup = self._lookup
        tensors = {f"network.{name}": tensor for name, tensor in lookup.stack.state().items()}
        return tensors | {"patterns": lookup.patterns, "values": lookup.values}, description

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | torch.device | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            path: the file.
            device: where to compute; None: the CPU.

        Raises:
            HopfieldError: a missing, foreign, newer or damaged file.
        """
        loaded: Self = cls._file.read(path, lambda tensors, told: cls.of_contents(tensors, told, device=device))
        return loaded

    @classmethod
    def of_contents(
        cls, tensors: dict[str, Tensor], description: dict[str, Any], *, device: str | torch.device | None
    ) -> Self:
        """What `contents` gave, out of which the tensors are taken.

        Raises:
            ValueError: tensors that do not fit the description.
        """
        settings: dict[str, Any] = given_settings(description["settings"]) | {"device": device}
        for name, value in settings.items():
            settings[name] = tuple(value) if isinstance(value, list) else value  # JSON knows no tuples
        model = cls(**settings)
        check_settings(model)
        model._settings = model.get_params(deep=False)
        model._columns = Columns.described(description["columns"])
        model._targets = targets_of(description["targets"])
        model.n_features_in_ = len(model._columns.columns)
        if description["features"]:
            model.feature_names_in_ = np.array(description["features"], dtype=object)
        origins, place = model._columns.origins, as_device(device)
        patterns, values = tensors.pop("patterns").to(place), tensors.pop("values").to(place)
        start = torch.zeros(patterns.shape[1], len(origins)) if model.memory == "prototypes" else None
        with seeded(0, place):  # for what is overwritten at once
            size, members = len(origins), range(model.n_estimators)
            stack = Stack([model._network(m, origins, size, start).to(place) for m in members]).train(False)
        found = {name: tensors.pop(f"network.{name}") for name in stack.state()}
        if {name: t.shape for name, t in stack.state().items()} != {name: t.shape for name, t in found.items()}:
            raise ValueError("its networks do not fit their settings")
        fits = patterns.shape == (stack.members, values.shape[1], model.width)
        if not fits or values.shape[2] != model._targets.size or len(values) not in {1, stack.members}:
            raise ValueError("its patterns do not fit their answers")
        stack.load(found)
        model._lookup = Lookup(stack, patterns, values, Rule(model.similarity, model.separation, model.steps))
        return model


def _folds(test: Any, count: int) -> np.ndarray:
    """The test parts of folds, bool (F, n)."""
    refuse_masks("test", test)
    wanted = f"test must be bool (folds, {count}), True for test rows, and leave rows to learn from"
    try:
        mask = np.array(test)
    except (TypeError, ValueError) as error:
        raise HopfieldError(f"{wanted}: {error}; np.arange(n) % 5 == np.arange(5)[:, None] is five folds") from error
    if mask.dtype != np.bool_ or mask.ndim != 2 or not len(mask) or mask.shape[1] != count or mask.all(1).any():
        raise HopfieldError(f"{wanted}; got {mask.dtype} {mask.shape}")
    return mask


def _decided(targets: Targets, votes: Tensor) -> np.ndarray:
    return targets.decided(votes)
