"""A classifier and a regressor of tables in the manner of scikit-learn: a lookup among the rows learnt from."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from hopfield.bags.inputs import refuse_masks
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.estimators.devices import as_device, seed_of
from hopfield.estimators.settings import given_settings, plain_settings
from hopfield.estimators.stack import History, Schedule, Stack, seeded
from hopfield.estimators.tables.answers import check_labels, check_numbers
from hopfield.estimators.tables.columns import Columns
from hopfield.estimators.tables.network import RowEmbedding, Similarity, vote, weights
from hopfield.estimators.tables.reading import Table, read_table
from hopfield.estimators.tables.settings import categorical_columns, check_settings, spread
from hopfield.estimators.tables.targets import Classes, Labels, Numbers, Targets, targets_of
from hopfield.estimators.tables.training import Examples, learn, pieces, prototypes
from hopfield.files import Kind
from hopfield.progress import progress_bar

# rows that are encoded at once
_ROWS = 1 << 13
# rows that are looked up at once, always as many, so that no answer depends on how many came with it; and the weights
# that they may have
_BLOCK, _WEIGHTS = 256, 1 << 23


class _TableLookup(BaseEstimator):
    """What the classifier and the regressor have in common; they say what answers are."""

    _file: Kind
    _columns: Columns
    _targets: Targets
    _stack: Stack
    _patterns: Tensor  # (M, N, e)
    _values: Tensor  # (M or 1, N, v)
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
    def _answers(self, y: Any, count: int) -> tuple[Targets, np.ndarray]:
        """What is asked for, and the checked answers of the rows."""

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
        columns = Columns.of(table, marks)
        examples = Examples.of([columns.encode(table)], [targets.values(y)])
        fitted._settings = copy.deepcopy(fitted.get_params(deep=False))  # set_params does not change what was learnt
        fitted._columns, fitted._targets = columns, targets
        fitted._stack, (fitted._patterns, fitted._values) = fitted._learn([columns], examples, targets)
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
        check_is_fitted(self, "_stack")
        if self._settings["memory"] != "training":
            raise HopfieldError('rows can be added to memory="training" only: prototypes are learnt')
        table = read_table(self, X, reset=False)
        targets, values, added = self._extended(y, len(table))
        with torch.no_grad():
            parts = pieces(len(table), _ROWS)
            embedded = [self._embed(self._stack, self._columns.encode(table[part]).unsqueeze(0)) for part in parts]
        self._patterns = torch.cat([self._patterns, *embedded], 1)
        self._values = torch.cat([values, added.to(values).unsqueeze(0)], 1)
        self._targets = targets
        return self

    def _extended(self, y: Any, count: int) -> tuple[Targets, Tensor, Tensor]:
        """The kind of answers with the new ones, the values of the memory in its terms, and those of the new rows."""
        targets, checked = self._answers(y, count)
        if targets.size != self._targets.size:
            raise HopfieldError(f"y must be of as many numbers as before, {self._targets.size}, got {targets.size}")
        return self._targets, self._values, self._targets.values(checked)

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
        return self._cross(X, y, test, self._decide)

    def _cross(self, X: Any, y: Any, test: Any, what: Any) -> np.ndarray:
        other = copy.copy(self)  # with the same parameters: what was fitted stays as it is
        other.__dict__.pop("_settings", None)
        table, marks, y, targets = other._begin(X, y)
        parts = [np.flatnonzero(~fold) for fold in _folds(test, len(table))]
        columns = [Columns.of(table[part], marks) for part in parts]
        values = [targets.values(y[part]) for part in parts]
        examples = Examples.of([own.encode(table[part]) for own, part in zip(columns, parts, strict=True)], values)
        stack, memory = other._learn(columns, examples, targets)
        width = examples.rows.shape[2]
        rows = torch.zeros(len(parts), len(table), width)
        for fold, own in zip(rows, columns, strict=True):
            encoded = own.encode(table)
            fold[:, : encoded.shape[1]] = encoded
        mask = examples.mask if self.memory == "training" else None
        votes = other._votes_of(stack, rows, *memory, mask)  # (F, n, v)
        return np.stack([what(targets, fold) for fold in votes])

    def _begin(self, X: Any, y: Any) -> tuple[Table, list[bool | None], np.ndarray, Targets]:
        """Check everything before anything is learnt."""
        check_settings(self)
        if y is None:
            raise HopfieldError("y is missing: this estimator requires y to be passed, but the target y is None")
        table = read_table(self, X, reset=True)
        targets, y = self._answers(y, len(table))
        return table, categorical_columns(self.categorical_features, list(table.names)), y, targets

    def _learn(
        self, columns: Sequence[Columns], examples: Examples, targets: Targets
    ) -> tuple[Stack, tuple[Tensor, Tensor]]:
        """Networks for each group of examples, trained at once, and the memory (M, N, e) with its values (M, N, v)."""
        device, seed = as_device(self.device), seed_of(self.random_state)
        with seeded(seed, device) as generator, progress_bar(shown=self.verbose) as progress:
            groups = torch.arange(len(columns)).repeat_interleave(self.n_estimators)  # (M,)
            values = examples.values[groups] if len(columns) > 1 else examples.values
            starts = None
            if self.memory == "prototypes":
                chosen = prototypes(examples, groups, int(self.prototypes), generator)  # (M, P)
                starts = examples.rows[groups.unsqueeze(1), chosen]
                values = examples.values[groups.unsqueeze(1), chosen]
            values = values.to(device)
            origins = [own.origins for own in columns]
            width = examples.rows.shape[2]
            stack = Stack(
                [
                    self._network(m, origins[group], width, None if starts is None else starts[m]).to(device)
                    for m, group in enumerate(groups.tolist())
                ]
            )
            self.history_: History = learn(
                stack,
                examples,
                targets,
                self._vote,
                prototypes=None if starts is None else values,
                rows_of_own=float(self.row_share),
                share=float(self.memory_share),
                batch=int(self.batch_size),
                schedule=Schedule(self.iterations, self.learning_rate, "cosine", self.weight_decay),
                device=device,
                progress=progress,
            )
        stack.train(False)
        rows = examples.rows[:, :0] if starts is not None else examples.rows
        with torch.no_grad():
            patterns = stack(each=(rows[groups].to(device),))
        return stack, (patterns, values)

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

    def _vote(self, states: Tensor, patterns: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """(M, L, e), (M, N, e), (M, N, v) -> (M, L, v)."""
        settings = getattr(self, "_settings", None) or vars(self)
        return vote(
            states,
            patterns,
            values,
            mask=mask,
            similarity=settings["similarity"],
            separation=settings["separation"],
            steps=settings["steps"],
        )

    # ------------------------------------------------------------------------------------------------------ predicting

    @abstractmethod
    def _decide(self, targets: Targets, votes: Tensor) -> np.ndarray:
        """What is predicted by votes (n, v)."""

    def predict(self, X: Any) -> np.ndarray:
        """The answers for rows, (n,) or (n, number). Millions of rows are looked up piece by piece.

        Args:
            X: rows (n, d) of the columns learnt from.
        """
        return self._predict(X, self._decide)

    def _predict(self, X: Any, what: Any) -> np.ndarray:
        check_is_fitted(self, "_stack")
        table = read_table(self, X, reset=False)
        found = []
        with progress_bar(shown=self._settings["verbose"]) as progress:
            for part in pieces(len(table), _ROWS):
                rows = self._columns.encode(table[part]).unsqueeze(0)
                votes = self._votes_of(self._stack, rows, self._patterns, self._values, None)
                found.append(what(self._targets, votes[0]))
                progress("rows", part.stop, len(table))
        return np.concatenate(found)

    def _votes_of(self, stack: Stack, rows: Tensor, patterns: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """The mean votes of each group of networks on rows (F, n, D), with the memory of each: (F, n, v)."""
        groups = torch.arange(len(rows)).repeat_interleave(stack.members // len(rows))
        mask = None if mask is None else mask[groups].unsqueeze(1).to(patterns.device)

        def votes(states: Tensor) -> Tensor:
            found = self._vote(states, patterns, values, mask)  # (M, n, v)
            mean: Tensor = found.unflatten(0, (len(rows), -1)).mean(1)
            return mean

        return torch.cat(list(self._in_blocks(stack, rows, groups, patterns.shape[1], votes)), 1)

    def _in_blocks(
        self, stack: Stack, rows: Tensor, groups: Tensor, count: int, what: Callable[[Tensor], Tensor]
    ) -> Iterator[Tensor]:
        """What comes of rows (F, n, D) embedded by every network, block by block: (F, block, *shape), on the CPU."""
        block = max(1, min(_BLOCK, _WEIGHTS // (stack.members * max(1, count))))
        with torch.no_grad():
            for part in pieces(rows.shape[1], block):
                own = rows[:, part]
                filled = F.pad(own, (0, 0, 0, block - own.shape[1]))
                yield what(self._embed(stack, filled[groups]))[:, : own.shape[1]].cpu()

    @staticmethod
    def _embed(stack: Stack, rows: Tensor) -> Tensor:
        """Rows (M, n, D), or (1, n, D) for all networks alike, in the space of each: (M, n, e)."""
        device = stack.parameters[0].device
        embedded = stack(each=(rows.expand(stack.members, -1, -1).to(device),))
        return embedded[:, embedded.shape[1] - rows.shape[1] :]  # what comes before are prototypes

    def neighbors(self, X: Any, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the memory behind each prediction, and how much each of them counts.

        A prediction is the mean of the answers in the memory under association weights: of classes the shares of the
        weight, of numbers the weighted mean.

        Args:
            X: rows (n, d) of the columns learnt from.
            k: how many, those with the largest weights; at most all.

        Returns:
            weights (n, k), descending, the mean over the networks; and the numbers of the rows (n, k), as they came
            to `fit`, then to `add`. For a memory of prototypes, whose networks have different ones, see `prototypes_`.

        Raises:
            HopfieldError: k below 1, a memory of prototypes.
        """
        check_is_fitted(self, "_stack")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise HopfieldError(f"k must be a number of rows of at least 1, got {k!r}")
        if self._settings["memory"] != "training":
            raise HopfieldError('only memory="training" has rows behind a prediction; prototypes are learnt')
        table = read_table(self, X, reset=False)
        how = {name: self._settings[name] for name in ("similarity", "separation", "steps")}
        count = self._patterns.shape[1]
        best: list[tuple[Tensor, Tensor]] = []

        def mean(states: Tensor) -> Tensor:
            return weights(states, self._patterns, **how).mean(0, keepdim=True)  # (1, n, N)

        groups = torch.zeros(self._stack.members, dtype=torch.int64)
        for part in pieces(len(table), _ROWS):
            rows = self._columns.encode(table[part]).unsqueeze(0)
            for found in self._in_blocks(self._stack, rows, groups, count, mean):
                largest, indices = found[0].topk(min(int(k), count))
                best.append((largest, indices))
        return torch.cat([row for row, _ in best]).numpy(), torch.cat([row for _, row in best]).numpy()

    @property
    def networks_(self) -> list[RowEmbedding]:
        """The trained networks, as modules of PyTorch: encoded rows (n, D) -> (n, e)."""
        check_is_fitted(self, "_stack")
        return [self._stack.member(i) for i in range(self._stack.members)]  # type: ignore[misc]  # what it was made of

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_stack")

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
        check_is_fitted(self, "_stack")
        description = {
            # what the columns are is told by `columns`
            "settings": plain_settings(self._settings) | {"categorical_features": "auto"},
            "columns": self._columns.describe(),
            "targets": self._targets.describe(),
            "features": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }
        try:
            json.dumps(description)
        except TypeError as error:
            raise HopfieldError(f"cannot save this estimator: {error}; settings and classes must be plain") from error
        tensors = {f"network.{name}": tensor for name, tensor in self._stack.state().items()}
        self._file.write(path, tensors | {"patterns": self._patterns, "values": self._values}, description)

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | torch.device | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            path: the file.
            device: where to compute; None: the CPU.

        Raises:
            HopfieldError: a missing, foreign, newer or damaged file.
        """

        def make(tensors: dict[str, Tensor], description: dict[str, Any]) -> Any:
            model = cls(**given_settings(description["settings"]) | {"device": device})
            check_settings(model)
            model._settings = model.get_params(deep=False)
            model._columns = Columns.described(description["columns"])
            model._targets = targets_of(description["targets"])
            model.n_features_in_ = len(model._columns.columns)
            if description["features"]:
                model.feature_names_in_ = np.array(description["features"], dtype=object)
            origins = model._columns.origins
            place = as_device(device)
            start = None
            if model.memory == "prototypes":
                start = torch.zeros(tensors["patterns"].shape[1], len(origins))
            with seeded(0, place):  # for what is overwritten at once
                count = len(origins)
                networks = [model._network(m, origins, count, start).to(place) for m in range(model.n_estimators)]
            stack = Stack(networks).train(False)
            found = {name: tensors.pop(f"network.{name}") for name in stack.state()}
            model._patterns, model._values = tensors.pop("patterns").to(place), tensors.pop("values").to(place)
            wanted = {name: tensor.shape for name, tensor in stack.state().items()}
            memory = (stack.members, model._values.shape[1], model.width)
            if wanted != {name: tensor.shape for name, tensor in found.items()} or model._patterns.shape != memory:
                raise HopfieldError(f"{path} does not fit its own settings")
            if model._values.shape[2] != model._targets.size or len(model._values) not in {1, stack.members}:
                raise HopfieldError(f"{path} does not fit its own answers")
            stack.load(found)
            model._stack = stack
            return model

        loaded: Self = cls._file.read(path, make)
        return loaded


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


class HopfieldClassifier(ClassifierMixin, _TableLookup):
    """Classify rows of a table: a Hopfield lookup among labelled rows, in a learned space.

    A row x votes with p = softmax(-½ β |z(x) - z(x_i)|²) for the labels of the rows x_i in the memory, one association
    of the state z(x) with stored patterns z(x_i) whose values are labels (Ramsauer et al. 2021, Sec. 3, "Hopfield
    layer": the memory is the training set). The embedding z (a linear map plus a small network) and β are learned.
    Several networks learn at once, and their votes are averaged. There is nothing to tune.

    Columns may hold numbers, categories (strings), and None or NaN for what is missing. Numbers are standardised and
    clipped at ±3; those of at most 12 different values are also told apart one by one. Missing entries and categories
    that were not learnt count as the mean.

    Labels may also be several at once, (n, T) of 0, 1 and NaN for unknown ones.

    Args:
        memory: "training": the rows learnt from are the stored patterns, and a row never finds itself while it learns.
            "prototypes": learned patterns, which begin at rows drawn from each class alike and keep their answers
            (learning vector quantisation, a `HopfieldLayer` with learned patterns).
        prototypes: their number in all.
        width: size of the space in which rows are compared.
        hidden: size of the hidden layer of the embedding.
        similarity: "euclidean", weights fall with the squared distance; or "dot".
        separation: how similarities become weights, a name or an object of `hopfield.separation`.
        steps: number of updates of the state; the last gives the answer.
        column_dropout: share of the columns that drop out in a step of learning. A pair: the shares of the networks
            are spread evenly from the first to the second; so the mean has cautious and bold ones.
        dropout: share of the hidden units that drop out; also a pair.
        noise: standard deviation of the noise on standardised columns while learning; also a pair.
        row_share: share of the rows that each network learns from; all are in its memory.
        memory_share: share of these that are the memory in a step of learning, other ones in each; the rest asks.
        label_smoothing: share of each label that losses spread evenly over all classes.
        n_estimators: number of networks, whose votes are averaged.
        iterations: steps of learning (AdamW, the rate falls to 0 as a cosine).
        batch_size: rows in a step, at most.
        learning_rate: of the first step.
        weight_decay: of AdamW.
        categorical_features: "auto": columns of strings, and of the type category in a data frame, are categories;
            None: there are none; or a list of columns: positions, names, or a bool for each.
        random_state: seed, `numpy.random.RandomState`, or None for other numbers every time. The same seed on the same
            machine gives the same numbers.
        device: where to compute; None: the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        classes_: the class labels, sorted; for several labels at once their numbers.
        n_features_in_: number of columns.
        feature_names_in_: their names, from a data frame.
        history_: losses of every step, `hopfield.estimators.stack.History`.

    Example:
        >>> from hopfield.estimators import HopfieldClassifier
        >>> model = HopfieldClassifier(random_state=0).fit(X, y)
        >>> model.predict(X_new), model.neighbors(X_new, k=3)
    """

    _file = Kind("hopfield.HopfieldClassifier", 1, "classifier", "HopfieldClassifier.save")

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
        column_dropout: float | tuple[float, float] = (0.0, 0.3),
        dropout: float | tuple[float, float] = (0.0, 0.4),
        noise: float | tuple[float, float] = (0.0, 0.3),
        row_share: float = 0.6,
        memory_share: float = 0.5,
        label_smoothing: float = 0.0,
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
        super().__init__(
            memory=memory,
            prototypes=prototypes,
            width=width,
            hidden=hidden,
            similarity=similarity,
            separation=separation,
            steps=steps,
            column_dropout=column_dropout,
            dropout=dropout,
            noise=noise,
            row_share=row_share,
            memory_share=memory_share,
            n_estimators=n_estimators,
            iterations=iterations,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            categorical_features=categorical_features,
            random_state=random_state,
            device=device,
            verbose=verbose,
        )
        self.label_smoothing = label_smoothing

    def _answers(self, y: Any, count: int) -> tuple[Targets, np.ndarray]:
        labels, several = check_labels(y, count)
        smoothing = float(self.label_smoothing)
        return (Labels(labels.shape[1], smoothing) if several else Classes(np.unique(labels), smoothing)), labels

    def _decide(self, targets: Targets, votes: Tensor) -> np.ndarray:
        found = targets.answers(votes)
        if isinstance(targets, Classes):
            decided: np.ndarray = targets.classes[found.argmax(1)]
            return decided
        return (found > 0.5).astype(np.int64)

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted; for several labels at once their numbers."""
        check_is_fitted(self, "_stack")
        if isinstance(self._targets, Classes):
            return self._targets.classes
        assert isinstance(self._targets, Labels), "a classifier has no other targets"
        return np.arange(self._targets.count)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes (n, C), in the order of `classes_`; of several labels that each is 1, (n, T)."""
        return self._predict(X, _answers)

    def cross_predict_proba(self, X: Any, y: Any, test: Any) -> np.ndarray:
        """What `predict_proba` would give, as in `cross_predict`: (F, n, C), or (F, n, T)."""
        return self._cross(X, y, test, _answers)

    def _extended(self, y: Any, count: int) -> tuple[Targets, Tensor, Tensor]:
        targets, checked = self._answers(y, count)
        old = self._targets
        if type(targets) is not type(old):
            raise HopfieldError("y must be of the kind that was learnt: one label for each row, or several")
        if isinstance(targets, Classes) and isinstance(old, Classes):
            classes = np.union1d(old.classes, targets.classes)
            places = torch.from_numpy(np.searchsorted(classes, old.classes)).to(self._values.device)
            values = self._values.new_zeros(*self._values.shape[:2], len(classes))
            return Classes(classes), values.index_copy(2, places, self._values), Classes(classes).values(checked)
        if targets.size != old.size:
            raise HopfieldError(f"y must have {old.size // 2} labels for each row, got {targets.size // 2}")
        return old, self._values, old.values(checked)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class HopfieldRegressor(RegressorMixin, _TableLookup):
    """Predict numbers for rows of a table: a Hopfield lookup among rows whose numbers are known, in a learned space.

    As `HopfieldClassifier`, with numbers in place of labels: the prediction is the mean of those in the memory under
    the association weights, and what is learnt lowers its squared error. It never leaves the range of what is known.
    Several numbers for each row are (n, v).

    Args:
        memory: "training": the rows learnt from are the stored patterns, and a row never finds itself while it learns.
            "prototypes": learned patterns, which begin at rows drawn from each class alike and keep their answers
            (learning vector quantisation, a `HopfieldLayer` with learned patterns).
        prototypes: their number in all.
        width: size of the space in which rows are compared.
        hidden: size of the hidden layer of the embedding.
        similarity: "euclidean", weights fall with the squared distance; or "dot".
        separation: how similarities become weights, a name or an object of `hopfield.separation`.
        steps: number of updates of the state; the last gives the answer.
        column_dropout: share of the columns that drop out in a step of learning. A pair: the shares of the networks
            are spread evenly from the first to the second; so the mean has cautious and bold ones.
        dropout: share of the hidden units that drop out; also a pair.
        noise: standard deviation of the noise on standardised columns while learning; also a pair.
        row_share: share of the rows that each network learns from; all are in its memory.
        memory_share: share of these that are the memory in a step of learning, other ones in each; the rest asks.
        n_estimators: number of networks, whose votes are averaged.
        iterations: steps of learning (AdamW, the rate falls to 0 as a cosine).
        batch_size: rows in a step, at most.
        learning_rate: of the first step.
        weight_decay: of AdamW.
        categorical_features: "auto": columns of strings, and of the type category in a data frame, are categories;
            None: there are none; or a list of columns: positions, names, or a bool for each.
        random_state: seed, `numpy.random.RandomState`, or None for other numbers every time. The same seed on the same
            machine gives the same numbers.
        device: where to compute; None: the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        n_features_in_: number of columns.
        feature_names_in_: their names, from a data frame.
        history_: losses of every step, `hopfield.estimators.stack.History`.

    Example:
        >>> from hopfield.estimators import HopfieldRegressor
        >>> model = HopfieldRegressor(random_state=0).fit(X, y)
        >>> model.predict(X_new), model.neighbors(X_new, k=3)
    """

    _file = Kind("hopfield.HopfieldRegressor", 1, "regressor", "HopfieldRegressor.save")

    def _answers(self, y: Any, count: int) -> tuple[Targets, np.ndarray]:
        numbers = check_numbers(y, count)
        return Numbers.of(numbers), numbers

    def _decide(self, targets: Targets, votes: Tensor) -> np.ndarray:
        return targets.answers(votes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _answers(targets: Targets, votes: Tensor) -> np.ndarray:
    return targets.answers(votes)
