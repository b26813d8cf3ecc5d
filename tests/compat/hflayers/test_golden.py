"""The numbers of the original package: outputs, associations and gradients of the recorded cases."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hopfield.compat import hflayers
from hopfield.compat.hflayers import transformer

GOLDEN = Path(os.environ.get("HOPFIELD_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "golden"
if not (GOLDEN / "index.json").is_file():
    pytest.skip(
        f"no numbers of the original: {GOLDEN} has no index.json; set HOPFIELD_SHARED to the folder that holds golden/",
        allow_module_level=True,
    )
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass(frozen=True)
class Case:
    """One recorded case: how the layer is made, and the tensors."""

    name: str
    cls: str
    kwargs: dict
    inputs: int
    as_tuple: bool

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(GOLDEN / f"{self.name}.safetensors")

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, by what follows."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}

    def layer(self, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
        layer = _made(self.cls, self.kwargs).to(dtype).eval()
        layer.load_state_dict(self.under("state."))
        return layer

    def arguments(self, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The inputs, which are leaves, and the masks."""
        inputs = [self.tensors[f"input.{index}"].to(dtype).requires_grad_() for index in range(self.inputs)]
        masks = {name: mask.to(dtype) if mask.is_floating_point() else mask for name, mask in self.under("kw.").items()}
        return inputs, masks

    def positional(self, inputs: list[Tensor]) -> tuple:
        return (tuple(inputs),) if self.as_tuple else tuple(inputs)


def _made(cls: str, kwargs: dict) -> torch.nn.Module:
    def value(given):
        if isinstance(given, dict):
            return _made("Hopfield", given)
        return torch.tensor(given) if isinstance(given, list) else given

    make = getattr(transformer if "coder" in cls else hflayers, cls)
    return make(**{name: value(given) for name, given in kwargs.items()})


CASES = [
    Case(case["name"], case["cls"], case["kwargs"], case["inputs"], as_tuple=case["tuple"])
    for case in json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_with_associations = pytest.mark.parametrize(
    "case", [case for case in CASES if "coder" not in case.cls], ids=lambda case: case.name
)


def same(actual: Tensor, expected: Tensor, dtype: torch.dtype = torch.float64) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, expected.to(dtype), rtol=0, atol=TOLERANCE[dtype])


@each_case
def test_parameters_have_the_names_and_shapes_of_the_original(case):
    layer = _made(case.cls, case.kwargs)
    state = {name: tensor.shape for name, tensor in layer.state_dict().items()}
    assert state == {name: tensor.shape for name, tensor in case.under("state.").items()}
    assert case.under("param_grad.").keys() <= {name for name, _ in layer.named_parameters()}


@each_case
def test_output_and_gradients(case):
    layer = case.layer()
    inputs, masks = case.arguments()
    output = layer(*case.positional(inputs), **masks)
    same(output, case.tensors["output"])
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    (output * weights).sum().backward()
    for index, gradient in case.under("input_grad.").items():
        same(inputs[int(index)].grad, gradient)
    parameters = dict(layer.named_parameters())
    for name, gradient in case.under("param_grad.").items():
        same(parameters[name].grad, gradient)


@each_with_associations
def test_associations(case):
    inputs, masks = case.arguments()
    found = case.layer().get_association_matrix(*case.positional(inputs), **masks)
    same(found, case.tensors["association"])
    assert not found.requires_grad


@each_case
def test_output_in_single_precision(case):
    inputs, masks = case.arguments(torch.float32)
    output = case.layer(torch.float32)(*case.positional(inputs), **masks)
    same(output, case.tensors["output"], torch.float32)


@each_case
def test_evaluation_without_gradients_is_the_same(case):
    layer = case.layer()
    inputs, masks = case.arguments()
    with torch.no_grad():
        for _ in range(2):  # the second time a lookup layer has its memory at hand
            same(layer(*case.positional(inputs), **masks), case.tensors["output"])


def native_masks(layer, batch: int, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original's masks, in which True is left out, as those of `hopfield.nn`."""
    result = {}
    if (padding := masks.get("stored_pattern_padding_mask")) is not None:
        result["stored_mask"] = ~padding
    if (mask := masks.get("association_mask")) is not None:
        mask = mask.unflatten(0, (batch, -1)) if mask.dim() == 3 else mask
        if mask.is_floating_point():
            result["association_bias"] = mask / layer.scaling
        else:
            result["association_mask"] = ~mask
    return result


@each_with_associations
def test_native_layer_has_the_same_output(case):
    layer = case.layer()
    inputs, masks = case.arguments()
    size = {"size": inputs[0].shape[-1]} if layer.input_size is None else {}
    native = layer.to_native(**size)
    batch = inputs[0].shape[0 if layer.batch_first else 1]
    order = [1, 0, 2] if case.cls == "Hopfield" and case.as_tuple else range(case.inputs)
    output = native(*(inputs[index] for index in order), **native_masks(layer, batch, masks))
    if case.cls == "HopfieldPooling":
        output = output.flatten(1)
    same(output, case.tensors["output"])


def test_every_recorded_file_has_its_case():
    assert {path.stem for path in GOLDEN.glob("*.safetensors")} == {case.name for case in CASES}
