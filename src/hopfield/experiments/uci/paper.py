"""The network of the paper on the small tables (Ramsauer et al. 2021, appendix A.5.2 and table A.3).

SELU layers embed a row, a `HopfieldLayer` looks it up in learned patterns, a linear map says the class. Plain SGD with
early stopping on the accuracy on validation rows, averaged over 16 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from hopfield.estimators.stack import Stack, seeded
from hopfield.nn.lookup import HopfieldLayer

EPOCHS, WINDOW = 100, 16
# the paper has batches of 4 and a rate of 0.05; larger batches with a rate as much larger learn alike and faster
BATCH, RATE = 16, 0.2
BETAS = (1.0, 0.1, 0.001)


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network.

    Attributes:
        layers: of the embedding.
        hidden: units of each, and the size of the association space.
        stored: patterns for each class.
    """

    layers: int
    hidden: int
    stored: int

    def network(self, columns: int, classes: int, beta: float) -> nn.Sequential:
        """From rows to logits."""
        embedding: list[nn.Module] = []
        size = columns
        for _ in range(self.layers):
            linear = nn.Linear(size, self.hidden)
            nn.init.normal_(linear.weight, std=size**-0.5)  # as self-normalising networks begin
            nn.init.zeros_(linear.bias)
            embedding += [linear, nn.SELU()]
            size = self.hidden
        lookup = HopfieldLayer(
            size,
            patterns=self.stored * classes,
            head_size=self.hidden,
            output_size=self.hidden,
            beta=torch.tensor(beta),
        )
        return nn.Sequential(*embedding, lookup, nn.Linear(self.hidden, classes))


ARCHITECTURES = (Architecture(1, 32, 1), Architecture(1, 32, 8), Architecture(1, 128, 8), Architecture(7, 32, 8))


def paper_network(
    X: np.ndarray, y: np.ndarray, test: np.ndarray, validation: np.ndarray, seed: int
) -> tuple[list[np.ndarray], list[str]]:
    """Predictions for the test rows of every split by the best cell of the grid on its validation rows, and which.

    All splits and betas of an architecture are trained at once.

    Args:
        X: (n, d).
        y: classes, (n,).
        test: bool (splits, n).
        validation: bool (splits, n).
        seed: of parameters and batches.
    """
    splits, classes = len(test), int(y.max()) + 1
    learnt = ~(test | validation)
    # each split standardised by its own training rows
    rows = torch.from_numpy(np.stack([StandardScaler().fit(X[part]).transform(X) for part in learnt])).float()
    targets = torch.from_numpy(y)
    best = torch.full((splits,), -1.0)
    predicted, chosen = torch.zeros(splits, len(y), dtype=torch.int64), [""] * splits
    for architecture in ARCHITECTURES:
        with seeded(seed, torch.device("cpu")):
            cells = [(beta, split) for beta in BETAS for split in range(splits)]
            stack = Stack([architecture.network(X.shape[1], classes, beta) for beta, _ in cells])
            which = torch.tensor([split for _, split in cells])
            parts = torch.from_numpy(validation)[which]
            scores, answers = _train(stack, rows[which], targets, torch.from_numpy(learnt)[which], parts)
        for (beta, split), score, answer in zip(cells, scores, answers, strict=True):
            if score > best[split]:
                best[split], predicted[split] = score, answer
                chosen[split] = (
                    f"layers={architecture.layers}, hidden={architecture.hidden}, stored={architecture.stored}, "
                    f"beta={beta}"
                )
    return [row[part].numpy() for row, part in zip(predicted, torch.from_numpy(test), strict=True)], chosen


def _train(stack: Stack, rows: Tensor, targets: Tensor, learnt: Tensor, validation: Tensor) -> tuple[Tensor, Tensor]:
    """The best mean accuracy over a window, (M,), and the classes of all rows (M, n) at its end."""
    members, n, _ = rows.shape
    optimizer = torch.optim.SGD(stack.parameters, lr=RATE)
    most = int(learnt.sum(1).max())
    recent: list[Tensor] = []
    best, answers = torch.full((members,), -1.0), torch.zeros(members, n, dtype=torch.int64)
    member = torch.arange(members).unsqueeze(1)
    held = validation.sum(1).clamp_min(1)
    for epoch in range(EPOCHS):
        stack.train()
        # training rows of each member in random order; members with fewer rows repeat some
        order = (torch.rand(members, n) + ~learnt).argsort(1)[:, :most]
        place = torch.arange(most).expand(members, most) % learnt.sum(1, keepdim=True)
        for batch in order.gather(1, place).split(BATCH, 1):
            logits = stack(each=(rows[member, batch],))
            loss = F.cross_entropy(logits.flatten(0, 1), targets[batch].flatten(), reduction="sum") / batch.shape[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        stack.train(False)
        with torch.no_grad():
            decided = stack(each=(rows,)).argmax(-1)  # (M, n)
        recent = [*recent, ((decided == targets) & validation).sum(1) / held][-WINDOW:]
        if epoch + 1 >= WINDOW:
            mean = torch.stack(recent).mean(0)
            better = mean > best
            best = torch.where(better, mean, best)
            answers[better] = decided[better]
    return best, answers
