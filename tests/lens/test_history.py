"""Heads over the time of a training."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hopfield import HopfieldError
from hopfield.lens import HeadHistory, HeadLens, replace_heads
from tests.core.catalogue import generator, normal
from tests.lens.catalogue import BERT, Projects, inputs, outputs, transformer


class Model(nn.Module):
    """With dropout, and something that evaluation must not change."""

    def __init__(self):
        super().__init__()
        self.one, self.drop, self.norm, self.two = Projects(), nn.Dropout(0.5), nn.BatchNorm1d(16), Projects(4)

    def forward(self, x, y=None):
        x = self.norm(self.drop(self.one(x)).mT).mT + 0 * torch.rand(())  # random in evaluation, too
        return self.two(x if y is None else x + y)


def batches():
    return [normal(generator(n), 2, 8, 16).float() for n in range(2)]


def test_a_training_is_recorded_and_left_alone():
    torch.manual_seed(0)
    results = []
    for recorded in (False, True):
        torch.manual_seed(1)
        model = Model()
        model.norm.eval()  # a part that stays as it is while the rest trains
        history = HeadHistory(model, batches(), every=2, rows=None, least=1)
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
        for step in range(6):
            loss = model(torch.randn(2, 8, 16)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if recorded:
                moment = history(step, loss=loss.item())
                assert (moment is None) == (step % 2 == 1)
                assert (model.training, model.norm.training, model.drop.training) == (True, False, True)
        results.append((losses, model.state_dict(), torch.rand(3)))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][2], results[1][2])
    for name, tensor in results[0][1].items():
        assert torch.equal(tensor, results[1][1][name])
    assert [(moment.step, moment.numbers) for moment in history.moments] == [
        (step, {"loss": results[1][0][step]}) for step in (0, 2, 4)
    ]
    # what a lens says of the model as it is now, without dropout
    with HeadLens(model.eval(), rows=None, least=1) as lens:
        for batch in batches():
            model(batch)
    assert torch.equal(history.record(6).report[1].sample, lens.report()[1].sample)
    k = history.k()
    assert k.shape == (4, 2, 4)
    assert k[:, 0, 2:].isnan().all()
    assert torch.equal(k[-1, 1], lens.report()[1].of("k").median(0).values)


def test_a_function_says_when():
    history = HeadHistory(Model(), batches(), every=lambda step: step in {1, 5})
    assert [step for step in range(7) if history(step)] == [1, 5]


def test_batches_are_of_any_form():
    x, y = batches()
    reports = [
        HeadHistory(Model().eval(), [batch], rows=None, least=1).record(0).report[0].rows
        for batch in (x, (x, y), [x, y], {"x": x, "y": y})
    ]
    assert reports == [16] * 4
    model = transformer(BERT)
    assert HeadHistory(model, [inputs(BERT, "right")], rows=None).record(3).report[0].rows == 19
    # an iterator is read once
    history = HeadHistory(Model(), iter(batches()))
    assert history.record(0).report[0].rows == history.record(1).report[0].rows


def test_errors_leave_the_model_as_it_was():
    model = Model()
    history = HeadHistory(model, [torch.randn(2, 8, 3)])
    with pytest.raises(RuntimeError):
        history.record(0)
    assert model.training
    assert not history.moments
    assert not any(module._forward_hooks for module in model.modules())


def test_files_hold_all_but_the_samples(tmp_path):
    model = Model()
    history = HeadHistory(model, batches(), every=1)
    history(0, loss=1.5)
    history(1, loss=math.nan)
    with replace_heads(model, {"one": [0]}, with_="uniform"):
        history(2, loss=math.inf, rate=3)
    history.save(tmp_path / "history.json")
    text = (tmp_path / "history.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["moments"]
    assert [(m["step"], m["loss"], m.get("rate")) for m in found] == [(0, 1.5, None), (1, None, None), (2, None, 3)]
    assert [len(m["heads"]) for m in found] == [6] * 3
    assert [m["heads"][0]["k"] is None for m in found] == [False, False, True]
    assert history.k()[:, 0, 0].isnan().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("batches_", "options", "text"),
    [
        ([], {}, "batches must hold at least one batch to look at the heads with, got none"),
        (None, {"every": 0}, "every must be a whole number of at least 1 or a function of the step, got 0"),
        (None, {"every": 2.0}, r"every must be a whole number of at least 1 or a function of the step, got 2\.0"),
        (None, {"every": True}, "every must be a whole number of at least 1 or a function of the step, got True"),
        (None, {"mass": 2}, r"mass must lie in \(0, 1\], got 2"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(batches_, options, text):
    with pytest.raises(HopfieldError, match=text):
        HeadHistory(Model(), batches() if batches_ is None else batches_, **options)


def test_what_cannot_be_told_is_refused():
    history = HeadHistory(Model(), batches())
    with pytest.raises(HopfieldError, match="nothing was recorded yet"):
        history.k()
    with pytest.raises(
        HopfieldError, match="numbers cannot be called heads, mass: these say what the heads do; rename them"
    ):
        history.record(0, heads=2, mass=1)
    assert not history.moments


def test_a_callback_records_with_the_loss_that_was_logged_last():
    from transformers import TrainerCallback

    model = transformer(BERT)
    history = HeadHistory(model, [inputs(BERT)], every=2)
    callback, state = history.callback(), SimpleNamespace(global_step=0)
    assert isinstance(callback, TrainerCallback)
    callback.on_train_begin(None, state, None)
    for step in range(1, 6):
        state.global_step = step
        callback.on_step_end(None, state, None)
        if step != 3:
            callback.on_log(None, state, None, logs={"loss": float(step)})
        callback.on_log(None, state, None, logs={"eval_loss": 9.0})
        callback.on_log(None, state, None)
    assert [(m.step, dict(m.numbers)) for m in history.moments] == [(0, {}), (2, {"loss": 1.0}), (4, {"loss": 2.0})]
    # a training that goes on has its beginning already
    callback.on_train_begin(None, state, None)
    assert len(history.moments) == 3


def test_a_transformer_of_its_own_is_recorded_in_training():
    model, given = transformer(BERT).train(), inputs(BERT, "left")
    history = HeadHistory(model, [given], every=1, rows=None)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    torch.manual_seed(3)
    expected = outputs(model, given)
    torch.manual_seed(3)
    history(1)
    assert torch.equal(outputs(model, given), expected)
    assert history(2).report[1].rows == 19
    assert torch.equal(history.moments[0].report[1].sample, history.moments[1].report[1].sample)


def test_numbers_are_kept_as_numbers_and_batches_come_in_a_list():
    model = Projects(2).double()
    history = HeadHistory(model, [normal(generator(0), 1, 40, 16)], every=1, rows=None)
    history(3, loss=torch.tensor(0.5, requires_grad=True))
    history(4, loss=0.25)
    assert [dict(m.numbers) for m in history.moments] == [{"loss": 0.5}, {"loss": 0.25}]
    assert history.steps == [3, 4]
    torch.testing.assert_close(history.shares(), history.k() / 40)
    assert "tensor" not in repr(history.moments)
    with pytest.raises(HopfieldError, match="numbers must be numbers"):
        history(5, loss=torch.ones(2))
    for one in ({"input_ids": torch.ones(1, 2)}, torch.ones(1, 40, 16)):
        with pytest.raises(HopfieldError, match=r"batches must be a list of batches, got one (dict|Tensor)"):
            HeadHistory(model, one)


@pytest.mark.slow
def test_the_trainer_of_transformers_calls_it(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    config = GPT2Config(vocab_size=50, n_positions=40, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    tokens = torch.randint(50, (24, 40), generator=generator(0))
    items = [{"input_ids": row, "labels": row} for row in tokens]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=6, per_device_train_batch_size=4, logging_steps=1, report_to=[], use_cpu=True, seed=3
    )

    def trained(callbacks):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
        history = HeadHistory(model, [tokens[:2]], every=2)
        Trainer(model, arguments, train_dataset=items, callbacks=[history.callback()] if callbacks else None).train()
        return model, history

    model, history = trained(callbacks=True)
    assert [moment.step for moment in history.moments] == [0, 2, 4, 6]
    assert [len(moment.report.layers) for moment in history.moments] == [2] * 4
    assert all(math.isfinite(moment.numbers["loss"]) for moment in history.moments[1:])
    # what it looks at trains as if nobody looked
    alone, _ = trained(callbacks=False)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
