"""The layers among PyTorch's tools: compilers, exporters, transformations of functions, other devices and processes."""

import copy
import io
import math
import shutil
import sys
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.func import functional_call, grad, hessian, jvp, stack_module_state, vmap
from torch.utils._python_dispatch import TorchDispatchMode

import hopfield
from hopfield.compat import hflayers
from hopfield.errors import HopfieldError
from hopfield.nn import LearnedBeta, causal_mask

D, N, PATTERNS = 16, 7, 20
BETAS = (0.2, 0.3, 0.4, 0.5)

OPTIONS = {
    "default": {},
    "heads": {"heads": 4},
    "steps": {"heads": 4, "steps": 3},
    "steps per head": {"heads": 4, "steps": (1, 2, 2, 3)},
    "learned beta": {"heads": 4, "beta": "learned"},
    "beta per head": {"heads": 4, "beta": list(BETAS), "steps": 2},
    "sparsemax": {"heads": 4, "separation": "sparsemax", "steps": 2},
    "softmax1": {"heads": 4, "separation": "softmax1"},
    "top1": {"heads": 4, "separation": "top1"},
    "entmax": {"heads": 4, "separation": "entmax"},
    "extra": {"heads": 4, "extra": ("bias", "zero")},
    "no norm": {"norm": None},
    "rms": {"heads": 4, "norm": "rms"},
    "euclidean": {"heads": 2, "similarity": "euclidean"},
    "connected": {"heads": 2, "connect_values": True, "head_norm": "layer"},
}


def hopfield_layer(**options):
    return hopfield.Hopfield(D, **options)


def pooling(**options):
    return hopfield.HopfieldPooling(D, states=2, **options)


def lookup(patterns=PATTERNS, **options):
    return hopfield.HopfieldLayer(D, patterns=patterns, **options)


def compat_hopfield():
    return hflayers.Hopfield(D)


def compat_pooling():
    return hflayers.HopfieldPooling(D)


def compat_lookup():
    return hflayers.HopfieldLayer(D, quantity=PATTERNS)


NATIVE = (hopfield_layer, pooling, lookup)
COMPAT = (compat_hopfield, compat_pooling, compat_lookup)
ONLY_PATTERNS = (lookup, compat_lookup)
CASES = [(kind, name) for kind in NATIVE for name in OPTIONS] + [(kind, "default") for kind in COMPAT]


def name_of(value):
    return getattr(value, "__name__", str(value)).replace(" ", "_")


def make(kind, name="default", **more):
    options = {**OPTIONS[name], **more}
    if options.get("beta") == "learned":
        options["beta"] = LearnedBeta(BETAS)
    return kind(**options)


def close(result, expected, tol=1e-5):
    torch.testing.assert_close(result, expected, atol=tol, rtol=tol)


def gradients(loss, inputs):
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


every_case = pytest.mark.parametrize(("kind", "name"), CASES, ids=name_of)
# tracing takes about a second a case
QUICK = {"default", "steps per head", "learned beta", "sparsemax", "extra"}
every_traced_case = pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*case, marks=() if case[1] in QUICK else pytest.mark.slow) for case in CASES],
    ids=name_of,
)
every_layer = pytest.mark.parametrize("kind", [*NATIVE, *COMPAT], ids=name_of)
every_native = pytest.mark.parametrize("kind", NATIVE, ids=name_of)

# `torch.export` and what builds on it use parts of torch that it has deprecated itself
deprecated = pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning")


def masks_for(kind, batch, states, seed=0):
    """Masks by name; of the first batch element nothing takes part, in the association mask nothing for state 0."""
    generator = torch.Generator().manual_seed(seed)
    patterns = PATTERNS if kind in ONLY_PATTERNS else states
    rows = {pooling: 2, compat_pooling: 1}.get(kind, states)
    stored = torch.rand(batch, patterns, generator=generator) > 0.4
    stored[0] = False
    pairs = torch.rand(rows, patterns, generator=generator) > 0.4
    pairs[0] = False
    found = {"stored_mask": {"stored_mask": stored}, "association_mask": {"association_mask": pairs}}
    if kind is hopfield_layer:
        found["causal"] = {"association_mask": causal_mask(states)}
    return found


MASKED = [(kind, mask) for kind in NATIVE for mask in masks_for(kind, 1, 1)]
every_mask = pytest.mark.parametrize(("kind", "mask"), MASKED, ids=name_of)


# ------------------------------------------------------------------------------------------------------ torch.compile


def compile_once(layer, backend, **options):
    """Compiled in one piece; another compilation for other inputs is an error."""
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=backend, **options)

    def run(*args, **kwargs):
        with torch._dynamo.config.patch(error_on_recompile=True):
            return compiled(*args, **kwargs)

    return run


@every_layer
def test_compile_tells_no_inputs_apart(kind):
    """A graph serves other inputs of the same sizes, which needs that nothing in it hangs on their identity."""
    compiled = compile_once(make(kind), "eager")
    for _ in range(3):
        compiled(torch.randn(3, N, D))


def check_compiled(kind, name, backend):
    layer = make(kind, name)
    compiled = compile_once(layer, backend, dynamic=True)
    for batch, count in ((3, N), (4, 9), (2, 30)):
        x = torch.randn(batch, count, D, requires_grad=True)
        expected, result = layer(x), compiled(x)
        close(result, expected)
        inputs = [x, *layer.parameters()]
        wanted = gradients(expected.square().mean(), inputs)
        for got, want in zip(gradients(result.square().mean(), inputs), wanted, strict=True):
            close(got, want)


@every_traced_case
def test_compile(kind, name):
    check_compiled(kind, name, "eager")


@pytest.mark.parametrize("name", ["default", "steps"])
@every_native
def test_compile_with_gradients(kind, name):
    check_compiled(kind, name, "aot_eager")


@pytest.mark.slow
@every_case
def test_compile_all_with_gradients(kind, name):
    check_compiled(kind, name, "aot_eager")


@every_mask
def test_compile_with_masks(kind, mask):
    layer = make(kind, heads=4, steps=2)
    compiled = compile_once(layer, "eager", dynamic=True)
    for batch, count in ((3, N), (4, 9)):
        x, options = torch.randn(batch, count, D), masks_for(kind, batch, count)[mask]
        close(compiled(x, **options), layer(x, **options))


@pytest.mark.parametrize("name", ["default", "sparsemax", "softmax1", "steps"])
def test_compile_many_patterns(name):
    """Where the layers by themselves would use kernels that look at numbers: see the table in `core.task`."""
    torch._dynamo.reset()
    for layer in (hopfield.HopfieldPooling(D, states=1, **OPTIONS[name]), make(lookup, name, patterns=5000)):
        x = torch.randn(2, 5000 if isinstance(layer, hopfield.HopfieldPooling) else 40, D)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        inputs = list(layer.parameters())
        expected, result = layer(x), compiled(x)
        close(result, expected)
        for got, wanted in zip(gradients(result.sum(), inputs), gradients(expected.sum(), inputs), strict=True):
            close(got, wanted, 1e-4)
        with torch.no_grad():
            close(compiled(x), layer(x))


def in_training_and_evaluation(layer, compiled, x):
    inputs = list(layer.parameters())
    expected, result = layer(x), compiled(x)
    close(result, expected)
    wanted = gradients(expected.square().mean(), inputs)
    for got, want in zip(gradients(result.square().mean(), inputs), wanted, strict=True):
        close(got, want)
    with torch.no_grad():
        close(compiled.eval()(x), layer.eval()(x))


needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler on the PATH"
)

# Inductor and forward-mode differentiation themselves still use TorchScript
scripting = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@needs_compiler
@scripting
def test_inductor():
    torch._dynamo.reset()
    layer = make(hopfield_layer, "heads")
    in_training_and_evaluation(layer, torch.compile(layer, fullgraph=True), torch.randn(3, N, D))


@needs_compiler
@scripting
@pytest.mark.slow  # the C++ compiler runs
@pytest.mark.parametrize("name", ["default", "steps", "sparsemax"])
@every_native
def test_inductor_for_all(kind, name):
    torch._dynamo.reset()
    layer = make(kind, name)
    in_training_and_evaluation(layer, torch.compile(layer, fullgraph=True), torch.randn(3, N, D))


@needs_compiler
@scripting
@pytest.mark.slow  # the C++ compiler runs
def test_inductor_many_patterns():
    for layer in (hopfield.HopfieldPooling(D), make(lookup, patterns=5000)):
        torch._dynamo.reset()
        x = torch.randn(2, 5000 if isinstance(layer, hopfield.HopfieldPooling) else 40, D)
        in_training_and_evaluation(layer, torch.compile(layer, fullgraph=True), x)


# ------------------------------------------------------------------------------------------------------- torch.export


@every_traced_case
def test_export(kind, name):
    layer = make(kind, name).eval()
    sizes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("count", min=1)}
    program = torch.export.export(layer, (torch.randn(3, N, D),), dynamic_shapes=(sizes,), strict=False).module()
    for batch, count in ((3, N), (4, 9), (1, 1), (1, 5), (5, 1), (2, 300)):
        x = torch.randn(batch, count, D)
        close(program(x), layer(x))


@every_mask
@pytest.mark.parametrize("heads", [1, 4])
def test_export_with_masks(kind, mask, heads):
    layer = make(kind, heads=heads, steps=2).eval()
    dynamic, own = torch.export.Dim.DYNAMIC, kind is lookup
    of_mask = {0: dynamic} if own else {0: dynamic, 1: dynamic}
    if mask != "stored_mask":
        of_mask = {hopfield_layer: {0: dynamic, 1: dynamic}, pooling: {1: dynamic}, lookup: {0: dynamic}}[kind]
    options = masks_for(kind, 3, N)[mask]
    (name,) = options
    first = "stored" if kind is pooling else "state"
    shapes = {first: {0: dynamic, 1: dynamic}, name: of_mask}
    x = torch.randn(3, N, D)
    program = torch.export.export(layer, (x,), options, dynamic_shapes=shapes, strict=False).module()
    for batch, count in ((3, N), (4, 9), (2, 300)):
        x, options = torch.randn(batch, count, D), masks_for(kind, batch, count, seed=1)[mask]
        close(program(x, **options), layer(x, **options))


def test_export_of_pooling_many_instances():
    layer = hopfield.HopfieldPooling(D).eval()
    sizes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("count", min=1)}
    program = torch.export.export(layer, (torch.randn(2, 5000, D),), dynamic_shapes=(sizes,), strict=False).module()
    for batch, count in ((2, 5000), (3, 9), (1, 20000)):
        x = torch.randn(batch, count, D)
        with torch.no_grad():
            close(program(x), layer(x))


# --------------------------------------------------------------------------------------------------------------- ONNX

ONNX = [(kind, name) for kind in NATIVE for name in ("default", "softmax1", "sparsemax", "steps")]
ONNX_SLOW = [(kind, name) for kind in NATIVE for name in OPTIONS if (kind, name) not in ONNX]


def check_onnx(kind, name, masked):
    runtime = pytest.importorskip("onnxruntime", reason="what runs exported layers is not installed")
    pytest.importorskip("onnxscript", reason="what exports layers is not installed")
    layer = make(kind, name).eval()
    dynamic = torch.export.Dim.DYNAMIC
    native = kind in NATIVE
    first = "input" if not native else "stored" if kind is pooling else "state"
    mask = "stored_mask" if native else "stored_pattern_padding_mask"

    def inputs(batch, count):
        kept = masks_for(kind, batch, count)["stored_mask"]["stored_mask"]
        return torch.randn(batch, count, D), {mask: kept if native else ~kept} if masked else {}

    shapes = {first: {0: dynamic, 1: dynamic}}
    if masked:
        shapes[mask] = {0: dynamic} if kind in ONLY_PATTERNS else {0: dynamic, 1: dynamic}
    x, options = inputs(3, N)
    program = torch.onnx.export(layer, (x,), kwargs=options, dynamic_shapes=shapes, dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    for batch, count in ((3, N), (4, 9), (2, 40)):
        x, options = inputs(batch, count)
        numbers = [tensor.numpy() for tensor in (x, *options.values())]
        (result,) = session.run(None, dict(zip(names, numbers, strict=True)))
        with torch.no_grad():
            close(torch.from_numpy(result), layer(x, **options))


@deprecated
@pytest.mark.parametrize(("kind", "name"), ONNX, ids=name_of)
def test_onnx(kind, name):
    check_onnx(kind, name, masked=True)


@pytest.mark.slow
@deprecated
@pytest.mark.parametrize(("kind", "name"), [*ONNX_SLOW, *((kind, "default") for kind in COMPAT)], ids=name_of)
@pytest.mark.parametrize("masked", [False, True])
def test_onnx_for_all(kind, name, masked):
    check_onnx(kind, name, masked)


# ---------------------------------------------------------------------------------------------------------- precision


@every_case
def test_autocast(kind, name):
    layer, x = make(kind, name), torch.randn(3, N, D, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(x)
    assert result.dtype == torch.bfloat16  # as that of a linear layer
    if name != "top1":  # rounding may turn the order of two patterns
        close(result.float(), layer(x), 0.05)
    result.float().square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_dtypes(kind, name, dtype):
    layer, x = make(kind, name).to(dtype), torch.randn(3, N, D).to(dtype)
    result = layer(x)
    assert result.dtype == dtype
    result.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    wide = copy.deepcopy(layer).double()(x.double())
    if name != "top1":
        close(result.double(), wide, 32 * torch.finfo(dtype).eps)


# ------------------------------------------------------------------------------------------------- meta, fake devices


@every_case
def test_meta(kind, name):
    torch.manual_seed(0)
    real = make(kind, name)
    with torch.device("meta"):
        layer = make(kind, name)
        result = layer(torch.empty(3, N, D))
    expected = real(torch.randn(3, N, D))
    assert (result.shape, result.device.type) == (expected.shape, "meta")
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.fill_(math.nan)
    layer.reset_parameters()
    for key, tensor in layer.state_dict().items():
        own = key.endswith("beta")  # an inverse temperature is given, not drawn
        assert own or tensor.isfinite().all(), key
        if own:
            tensor.copy_(real.state_dict()[key])
    assert layer(torch.randn(3, N, D)).isfinite().all()


@pytest.mark.parametrize("name", OPTIONS)
@every_native
def test_no_numbers_are_read_on_accelerators(kind, name):
    """Meta tensors have no numbers, so that asking for one raises; beside that they are treated as an accelerator's."""
    with torch.device("meta"):
        layer = make(kind, name)
        for count in (N, 300):
            x = torch.empty(2, count, D)
            assert layer(x).device.type == "meta"
            with torch.no_grad():
                layer.eval()(x)
            layer.train()


@pytest.mark.parametrize("name", ["default", "heads", "steps", "softmax1", "extra"])
def test_nor_with_many_patterns(name):
    with torch.device("meta"):
        x = torch.empty(2, 5000, D)
        for layer in (make(hopfield_layer, name), make(pooling, name)):
            layer(x, stored_mask=torch.empty(2, 5000, dtype=torch.bool))
            layer(x)
        layer = make(lookup, name, patterns=5000)
        layer(x)
        layer(x, stored_mask=torch.empty(2, 5000, dtype=torch.bool))


class Operations(TorchDispatchMode):
    """Keeps the names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@every_native
@pytest.mark.parametrize("name", OPTIONS)
def test_forward_reads_no_numbers(kind, name):
    layer = make(kind, name)
    for options in ({}, *masks_for(kind, 3, N).values()):
        with Operations() as seen:
            layer(torch.randn(3, N, D), **options)
        assert not seen.names & {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select"}


# --------------------------------------------------------------------------------------------------------- torch.func


def unbatch(kind):
    """The original's layers take three dimensions only."""
    return (lambda x: x[None]) if kind in COMPAT else (lambda x: x)


LARGER = [(kind, "steps", 300) for kind in NATIVE] + [(kind, "default", 3000) for kind in (pooling, lookup)]
every_size = pytest.mark.parametrize(("kind", "name", "count"), [*((*case, N) for case in CASES), *LARGER], ids=name_of)


@every_size
def test_vmap(kind, name, count):
    layer, x, one = make(kind, name), torch.randn(3, count, D), unbatch(kind)
    expected = layer(x)
    close(vmap(lambda x: layer(one(x)))(x).reshape(expected.shape), expected)
    with torch.no_grad():
        close(vmap(lambda x: layer(one(x)))(x).reshape(expected.shape), expected)


@every_mask
def test_vmap_with_masks(kind, mask):
    layer, x = make(kind, heads=2), torch.randn(3, N, D)
    options = masks_for(kind, 3, N)[mask]
    over = {key: 0 if key == "stored_mask" else None for key in options}
    close(vmap(lambda x, options: layer(x, **options), (0, over))(x, options), layer(x, **options))


@every_size
def test_gradients_per_sample(kind, name, count):
    layer, x, one = make(kind, name), torch.randn(3, count, D), unbatch(kind)
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return functional_call(layer, parameters, (x,)).square().sum() / count

    total = grad(loss)(parameters, x)
    each = vmap(grad(lambda parameters, x: loss(parameters, one(x))), (None, 0))(parameters, x)
    expected = gradients(layer(x).square().sum() / count, list(parameters.values()))
    for key, wanted in zip(parameters, expected, strict=True):
        close(total[key], wanted, 1e-4)
        close(each[key].sum(0), wanted, 1e-4)


@every_size
def test_ensembles(kind, name, count):
    layers, x = [make(kind, name) for _ in range(3)], torch.randn(2, count, D)
    tensors = stack_module_state(layers)
    together = vmap(lambda *tensors: functional_call(layers[0], tensors, (x,)))(*tensors)
    for layer, result in zip(layers, together, strict=True):
        close(result, layer(x))
        close(functional_call(layers[0], (dict(layer.named_parameters()), dict(layer.named_buffers())), (x,)), layer(x))


@scripting
@every_size
def test_directional_derivatives(kind, name, count):
    layer, x, direction = (
        make(kind, name).double(),
        torch.randn(2, count, D).double(),
        torch.randn(2, count, D).double(),
    )
    step = 1e-6
    _, derivative = jvp(layer, (x,), (direction,))
    close(derivative, (layer(x + step * direction) - layer(x - step * direction)) / (2 * step), 1e-6)


@scripting
@every_native
def test_second_derivatives(kind):
    layer, x = make(kind, "steps").double(), torch.randn(3, D).double()
    matrix = hessian(lambda x: layer(x).sum())(x).reshape(3 * D, 3 * D)
    close(matrix, matrix.mT, 1e-9)


# ---------------------------------------------------------------------------------------------------------- processes


def run_in_parallel(rank, folder):
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        for kind in NATIVE:
            for steps in (1, None):
                torch.manual_seed(0)
                layer = make(kind, heads=4, steps=steps, beta="learned", extra=("bias",), tol=1e-7)
                alone = copy.deepcopy(layer)
                x = torch.randn(4, N, D)
                parallel = nn.parallel.DistributedDataParallel(layer)
                for _ in range(2):  # a parameter without gradient shows in the second round
                    layer.zero_grad()
                    parallel(x[2 * rank : 2 * rank + 2]).square().mean().backward()
                alone(x).square().mean().backward()
                for one, other in zip(layer.parameters(), alone.parameters(), strict=True):
                    close(one.grad, other.grad)
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or sys.platform == "win32", reason="needs gloo and files as meeting places")
def test_distributed_data_parallel(tmp_path):
    torch.multiprocessing.spawn(run_in_parallel, (str(tmp_path),), nprocs=2)


# ------------------------------------------------------------------------------------------------------------- modules


@every_case
def test_copies(kind, name):
    layer, x = make(kind, name).eval(), torch.randn(3, N, D)
    with torch.no_grad():
        expected = layer(x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        with torch.no_grad():
            close(other(x), expected, 0)
            for parameter in layer.parameters():
                parameter.add_(0.0)
            next(other.parameters()).zero_()  # not that of the original
            close(layer(x), expected, 0)


GIVEN = {
    "beta per head": lambda shift: hopfield.Hopfield(D, heads=4, beta=[b + shift for b in BETAS]),
    "learned beta": lambda shift: hopfield.Hopfield(D, heads=4, beta=LearnedBeta([b + shift for b in BETAS])),
    "states": lambda shift: hopfield.HopfieldPooling(D, states=torch.randn(3, D) + shift, trainable=False),
    "patterns": lambda shift: hopfield.HopfieldLayer.from_patterns(torch.randn(5, D), torch.randn(5, 3) + shift),
    "bias": lambda shift: hopfield.HopfieldLayer(D, patterns=5, targets="learned", extra="bias", heads=2),
}


@pytest.mark.parametrize("name", GIVEN)
def test_state_dicts(name):
    layer, other, x = GIVEN[name](0.0).eval(), GIVEN[name](1.0).eval(), torch.randn(3, N, D)
    with torch.no_grad():
        assert not torch.allclose(other(x), layer(x))
        other.load_state_dict(layer.state_dict(), strict=True)
        close(other(x), layer(x), 0)
    assert all(tensor.dtype == torch.float64 for tensor in layer.double().state_dict().values())


def test_names_of_parameters():
    norms = [f"norm_{name}.{part}" for name in ("state", "stored", "value") for part in ("weight", "bias")]
    projections = [
        f"project_{name}.{part}" for name in ("state", "stored", "value", "output") for part in ("weight", "bias")
    ]
    assert [name for name, _ in make(hopfield_layer).named_parameters()] == norms + projections
    inner = [f"hopfield.{name}" for name in norms + projections]
    assert [name for name, _ in make(pooling).named_parameters()] == ["states", *inner]
    assert [name for name, _ in make(lookup).named_parameters()] == ["patterns", *inner]
    learned = dict(make(hopfield_layer, beta="learned", heads=4, extra="bias").named_parameters())
    assert {"beta.log_beta", "extra_pattern", "extra_value"} <= set(learned)


PROJECTIONS = ("project_state", "project_stored", "project_value", "project_output")
every_projection = pytest.mark.parametrize("projection", PROJECTIONS)


def inside(layer):
    return layer if isinstance(layer, hopfield.Hopfield) else layer.hopfield


@every_native
@every_projection
def test_parametrized_projection(kind, projection):
    layer = make(kind, "heads").eval()
    other, x = copy.deepcopy(layer), torch.randn(3, N, D)
    one = getattr(inside(layer), projection)
    nn.utils.parametrizations.spectral_norm(one)
    with torch.no_grad():
        getattr(inside(other), projection).weight.copy_(one.weight)
    close(layer(x), other(x))
    layer(x).sum().backward()
    assert one.parametrizations.weight.original.grad is not None


@every_native
@every_projection
def test_hooks_of_a_projection_fire(kind, projection):
    layer, x, fired = make(kind, "heads"), torch.randn(3, N, D), []
    expected = layer(x)
    module = getattr(inside(layer), projection)
    module.register_forward_pre_hook(lambda *_: fired.append("before"))
    close(layer(x), expected)
    module.register_forward_hook(lambda *_: fired.append("after"))
    close(layer(x), expected)
    assert fired == ["before", "before", "after"]


@every_native
@every_projection
def test_backward_hooks_of_a_projection_fire(kind, projection):
    layer, fired = make(kind, "heads"), []
    getattr(inside(layer), projection).register_full_backward_hook(lambda *_: fired.append("backward"))
    layer(torch.randn(3, N, D, requires_grad=True)).sum().backward()
    assert fired == ["backward"]


class LowRank(nn.Module):
    """A frozen linear layer and a learned product of two thin matrices."""

    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


@every_native
@every_projection
def test_another_module_as_projection(kind, projection):
    layer, x = make(kind, "heads"), torch.randn(3, N, D)
    other = copy.deepcopy(layer)
    low = LowRank(getattr(inside(layer), projection))
    setattr(inside(layer), projection, low)
    with torch.no_grad():
        getattr(inside(other), projection).weight += low.up.weight @ low.down.weight
    close(layer(x), other(x))
    layer(x).square().sum().backward()
    assert low.up.weight.grad is not None
    assert low.base.weight.grad is None
    layer.reset_parameters()
    layer(x)


def test_connected_values_need_plain_projections():
    layer = make(hopfield_layer, connect_values=True)
    layer.project_value = LowRank(layer.project_value)
    with pytest.raises(HopfieldError, match="connect_values needs plain linear projections"):
        layer(torch.randn(3, N, D))


# --------------------------------------------------------------------------------------------------------------- sizes


@every_case
def test_empty_batch(kind, name):
    layer = make(kind, name)
    x = torch.randn(0, N, D, requires_grad=True)
    result = layer(x)
    assert result.shape == (0, *layer(torch.randn(2, N, D)).shape[1:])
    result.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("name", OPTIONS)
@every_native
def test_without_batch_and_with_gradients_of_inputs(kind, name):
    layer = make(kind, name)
    x = torch.randn(N, D, requires_grad=True)
    result = layer(x)
    close(result, layer(x[None])[0])
    result.square().sum().backward()
    assert x.grad.isfinite().all()
    if name != "top1":
        assert (x.grad != 0).any()
