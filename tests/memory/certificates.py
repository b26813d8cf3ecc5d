"""What tests of certified retrieval share: data, and the exact answer in extended precision."""

import numpy as np
import torch

from hopfield.separation import Softmax, Softmax1, Sparsemax, TopK
from tests.core.catalogue import generator, normal

KINDS = ("clustered", "uniform", "scaled", "repeated")


def patterns_of(kind, count, size, g):
    """Patterns in clusters, uniform on the sphere, of very different norms, or many times the same."""
    rows = normal(g, count, size)
    if kind == "clustered":
        centres = normal(g, max(1, count // 25), size)
        rows = centres[torch.randint(len(centres), (count,), generator=g)] + 0.2 * rows
    if kind == "repeated":
        rows = rows[torch.randint(max(1, count // 10), (count,), generator=g)]
    rows = torch.nn.functional.normalize(rows, dim=-1)
    return rows * torch.exp(normal(g, count, 1)) if kind == "scaled" else rows


def queries_of(patterns, count, g):
    """Half of them near a pattern, half of them anywhere."""
    near = patterns[torch.randint(len(patterns), (count,), generator=g)] + 0.05 * normal(g, count, patterns.shape[1])
    far = normal(g, count, patterns.shape[1]) / patterns.shape[1] ** 0.5
    return torch.where(torch.arange(count).unsqueeze(-1) % 2 == 0, near, far)


def exact(query, patterns, values, beta, *, bias=None, mask=None, separation=None):
    """The association and its log-sum-exp (softmax), in extended precision: (L, v) and (L,)."""
    x, v, q = (t.detach().double().numpy().astype(np.longdouble) for t in (patterns, values, query))
    scores = q @ x.T
    if bias is not None:
        scores = scores + bias.double().numpy().astype(np.longdouble)
    scores = np.longdouble(beta) * scores
    if mask is not None:
        scores = np.where(np.broadcast_to(mask.numpy(), scores.shape), scores, -np.inf)
    weights, level = weights_of(scores, separation or Softmax())
    return weights @ v, level


def weights_of(scores, separation):
    top = scores.max(-1, keepdims=True)
    if isinstance(separation, Softmax1):
        top = np.maximum(top, 0)
    top = np.where(np.isfinite(top), top, 0)
    if isinstance(separation, Softmax | Softmax1):
        w = np.exp(scores - top)
        total = w.sum(-1, keepdims=True) + (np.exp(-top) if isinstance(separation, Softmax1) else 0)
        with np.errstate(divide="ignore"):
            level = (top + np.log(total))[..., 0]
        return w / np.where(total == 0, 1, total), level
    if isinstance(separation, TopK):
        cut = -np.sort(-scores, -1)[:, separation.k - 1 : separation.k]
        w = np.where(scores >= cut, np.exp(scores - top), 0)
        tied, higher = (scores == cut).sum(-1, keepdims=True), (scores > cut).sum(-1, keepdims=True)
        w = np.where(scores == cut, w * np.minimum(1, (separation.k - higher) / tied), w)
        return w / w.sum(-1, keepdims=True), None
    if isinstance(separation, Sparsemax):
        ordered = -np.sort(-scores, -1)
        rank = np.arange(1, scores.shape[1] + 1)
        cut = (np.cumsum(ordered, -1) - 1) / rank
        size = (cut < ordered).sum(-1, keepdims=True)
        return np.maximum(scores - np.take_along_axis(cut, size - 1, -1), 0), None
    raise NotImplementedError(separation)


def distance(found, wanted):
    return torch.as_tensor(np.sqrt(np.square(found.detach().double().numpy() - wanted).sum(-1)).astype(np.float64))


def some(kind, seed, *, count=600, size=12, states=24, dtype=torch.float32):
    g = generator(seed)
    patterns = patterns_of(kind, count, size, g).to(dtype)
    query = queries_of(patterns.double(), states, g).to(torch.promote_types(dtype, torch.float32))
    return g, patterns, query
