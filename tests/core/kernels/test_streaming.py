"""Passes over blocks of patterns: real blocks and tiles, scores that rise from block to block, memory."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hopfield import associate, retrieve
from hopfield.core.kernels import streaming
from hopfield.core.kernels.streaming import (
    Problem,
    blocks,
    in_units,
    normalizers,
    room_for,
    scores,
    stream,
    tiles,
    weights_of,
)
from hopfield.separation import Entmax, Normmax, Softmax, Softmax1, Sparsemax, TopK
from tests.core.catalogue import (
    close,
    computing,
    each_streamable,
    examples,
    generator,
    integer,
    normal,
    one_of,
    yes,
)


def problem(g, batch, rows, count, width, values=2, bias=None, mask=None):
    return Problem(
        normal(g, batch, rows, width),
        normal(g, batch, count, width),
        normal(g, batch, count, values) if values else None,
        None if bias is None else normal(g, *bias),
        None if mask is None else yes(g, *mask, chance=0.8),
    )


def whole(problem):
    """All scores at once."""
    result = problem.states @ problem.patterns.mT
    if problem.bias is not None:
        result = result + problem.bias
    return result if problem.mask is None else result.masked_fill(~problem.mask, -math.inf)


def dense(problem, separation):
    s = whole(problem)
    return separation.weights(s) @ problem.values, separation.potential(s)


# ----------------------------------------------------------------------------------------------------- blocks and tiles


@pytest.mark.parametrize("tile", [1, 1000, 5000, 1 << 20])
@pytest.mark.parametrize(("batch", "rows", "count", "width"), [(1, 3, 1000, 4), (5, 7, 257, 2), (1, 0, 300, 4)])
def test_blocks_cover_all_patterns_once(monkeypatch, tile, batch, rows, count, width):
    monkeypatch.setattr(streaming, "_TILE", tile)
    p = problem(generator(0), batch, rows, count, width)
    found = [range(count)[block] for block in blocks(p)]
    assert [i for block in found for i in block] == list(range(count))
    assert all(len(block) >= min(256, count) for block in found[:-1])
    assert all(len(block) * batch * rows <= max(tile, 256 * batch * rows) for block in found)


@pytest.mark.parametrize("rows", [0, 1, 1024, 1025, 3000])
def test_tiles_cover_all_states_once(rows):
    p = problem(generator(1), 1, rows, 2, 1)
    found = [range(rows)[tile] for tile in tiles(p)]
    assert [i for tile in found for i in tile] == list(range(rows))
    assert all(len(tile) <= 1024 for tile in found)
    assert len(found) >= 1


BROADCASTS = [None, (1, 1, 7), (1, 5, 7), (2, 1, 7), (2, 5, 7), (2, 5, 1), (1, 1, 1)]


@pytest.mark.parametrize("bias", BROADCASTS)
@pytest.mark.parametrize("mask", BROADCASTS)
def test_scores_of_pieces(bias, mask):
    p = problem(generator(2), 2, 5, 7, 3, bias=bias, mask=mask)
    for rows in (slice(0, 5), slice(1, 3)):
        for block in (slice(0, 7), slice(2, 3), slice(4, 7)):
            close(scores(p.rows(rows), block), whole(p)[:, rows, block])
    doubled = p._replace(states=2 * p.states)
    close(scores(doubled, slice(1, 5), 2.0), 2 * whole(p)[..., 1:5])


@pytest.mark.parametrize("bias", [None, (1, 1, 700), (1, 5, 700)])
@pytest.mark.parametrize("mask", [None, (1, 5, 700)])
def test_the_scores_of_all_blocks_lie_in_one_room(monkeypatch, bias, mask):
    monkeypatch.setattr(streaming, "_TILE", 1000)
    p = problem(generator(3), 1, 5, 700, 3, bias=bias, mask=mask)
    memory = room_for(p)
    assert memory.numel() == 5 * 256
    for block in blocks(p):  # the last one is shorter
        found = scores(p, block, room=memory)
        assert found.data_ptr() == memory.data_ptr()
        assert found.is_contiguous()
        close(found, whole(p)[..., block])
        memory.fill_(math.nan)
    nothing = p._replace(patterns=p.patterns[:, :0])
    assert room_for(nothing).numel() == 0


# ------------------------------------------------------------------------------------------------ against the dense way


@each_streamable
@examples(5)
def test_real_blocks_agree_with_the_score_matrix(separation, seed):
    g = generator(seed)
    batch, rows, count = one_of(g, 1, 2), integer(g, 1, 6), integer(g, 257, 600)
    shapes = [None, (1, 1, count), (batch, rows, 1), (batch, rows, count)]
    p = problem(g, batch, rows, count, 2, bias=one_of(g, *shapes), mask=one_of(g, *shapes))
    leaves = [t.requires_grad_() for t in (p.states, p.patterns, p.values, p.bias) if t is not None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_TILE", 1)
        patch.setattr(streaming, "_STATES", 4)
        assert len(list(blocks(p))) > 1
        results = stream(p, separation)
        losses = [results, dense(p, separation)]
        gradients = []
        for values, potential in losses:
            finite = torch.where(potential == -math.inf, 0.0, potential)
            gradients.append(torch.autograd.grad(values.square().sum() + finite.sin().sum(), leaves))
    for one, other in zip([*results, *gradients[0]], [*losses[1], *gradients[1]], strict=True):
        close(one.detach(), other.detach(), 1 + float(other.detach().nan_to_num(neginf=0).abs().max()))


@each_streamable
def test_the_potential_alone(separation):
    g = generator(3)
    p = problem(g, 2, 3, 40, 2, values=0, bias=(2, 1, 40), mask=(1, 3, 40))
    leaves = [t.requires_grad_() for t in (p.states, p.patterns, p.bias)]
    with computing("streaming"):
        _, potential = stream(p, separation)
        gradients = torch.autograd.grad(potential.sum(), leaves)
    expected = separation.potential(whole(p))
    close(potential.detach(), expected.detach())
    for one, other in zip(gradients, torch.autograd.grad(expected.sum(), leaves), strict=True):
        close(one, other)


@each_streamable
def test_weights_from_normalizers(separation):
    p = problem(generator(4), 1, 3, 40, 2, mask=(1, 3, 40))
    with computing("streaming"):
        scaled, scale = in_units(p, separation)
        found = weights_of(scores(scaled, slice(5, 30), scale), separation, normalizers(p, separation))
    close(found, separation.weights(whole(p))[..., 5:30])


# ------------------------------------------------------------------------------------------ scores far from one another


def ladder(*levels, width=4):
    """A problem with one state whose blocks have scores about these levels."""
    g = generator(5)
    offsets = torch.tensor(levels).double().repeat_interleave(3)
    patterns = torch.cat([normal(g, 1, len(offsets), width), offsets.reshape(1, -1, 1)], -1)
    states = torch.cat([0.5 * normal(g, 1, 2, width), torch.ones(1, 2, 1).double()], -1)
    return Problem(states, patterns, normal(g, 1, len(offsets), 3), None, None)


@each_streamable
@pytest.mark.parametrize(
    "levels",
    [
        (0, 100, 200, 300),
        (300, 200, 100, 0),
        (-500, -500, -500),
        (-1e5, -1e3, 0, 40, 42, 85),
        (41, 41.5, 0, 83, 1e4),
        (-42, 40, -200, 70),
        (0, 1e6, 1e6 + 1, 5),
        (-1e6 - 1, -1e6, -1e9),
    ],
)
def test_scores_that_rise_and_fall_from_block_to_block(separation, levels):
    p = ladder(*levels)
    p.states.requires_grad_()
    p.values.requires_grad_()
    with computing("streaming"):
        values, potential = stream(p, separation)
        gradients = torch.autograd.grad(values.sum() + potential.sum(), [p.states, p.values])
    expected, of_expected = dense(p, separation)
    others = torch.autograd.grad(expected.sum() + of_expected.sum(), [p.states, p.values])
    scale = 1 + max(abs(level) for level in levels)
    for one, other in zip([values, potential, *gradients], [expected, of_expected, *others], strict=True):
        close(one.detach(), other.detach(), scale)


@pytest.mark.parametrize("separation", [Softmax(), Softmax1()], ids=repr)
@pytest.mark.parametrize("level", [-100.0, -90.0, -55.0, 0.0, 55.0, 88.0, 100.0, 1e4])
@pytest.mark.parametrize("rises", [(0,), (0, 30, -30, 100)])
def test_float32_neither_overflows_nor_loses_anything(separation, level, rises):
    p = Problem(*(None if t is None else t.float() for t in ladder(*(level + rise for rise in rises))[:5]))
    with computing("streaming"):
        values, potential = stream(p, separation)
    exact = Problem(*(None if t is None else t.double() for t in p[:5]))
    expected, of_expected = dense(exact, separation)
    rounding = 1e-6 * (10 + abs(level))
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=rounding)
    torch.testing.assert_close(potential.double(), of_expected, rtol=1e-6, atol=rounding)


# --------------------------------------------------------------------------------------------------------------- memory


class Largest(TorchDispatchMode):
    """Watches for the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel())
        return result


@pytest.mark.parametrize("separation", [Softmax(), Softmax1(), Sparsemax(), Entmax(), Normmax(), TopK(5)], ids=repr)
def test_no_tensor_is_as_large_as_the_score_matrix(separation, monkeypatch):
    monkeypatch.setattr(streaming, "_TILE", 1 << 12)
    monkeypatch.setattr(streaming, "_STATES", 16)
    g = generator(6)
    query, patterns = normal(g, 64, 4), normal(g, 4096, 4)
    leaves = [query.requires_grad_(), patterns.requires_grad_()]
    with Largest() as most:
        values, potential = associate(query, patterns, separation=separation, return_potential=True)
        torch.autograd.grad(values.sum() + potential.sum(), leaves)
        found = retrieve(query.detach(), patterns.detach(), separation=separation, max_steps=2)
        found.top(5)
        assert bool(found.energy.isfinite().all())
    assert query.shape[0] * patterns.shape[0] >= 4 * most.size
    assert most.size >= patterns.numel(), "or nothing was watched"


def test_half_precision_memories_are_not_copied_whole(monkeypatch):
    monkeypatch.setattr(streaming, "_TILE", 1 << 12)
    patterns = normal(generator(7), 1, 8192, 4).half()
    p = Problem(normal(generator(8), 1, 8, 4).float(), patterns, patterns, None, None)
    with Largest() as most, torch.no_grad():
        stream(p, Softmax())
    assert most.size < patterns.numel() // 2
