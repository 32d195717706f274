"""Networks of int8 of which a layer or a tensor stays float32, because int8 is too coarse for it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

from examples import examples  # noqa: E402
from exported import STEPS, pictures, quantized, run_litert  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from edgekit import engine, model, plan  # noqa: E402
from edgekit.errors import ModelError  # noqa: E402
from edgekit.model.graph import Graph  # noqa: E402
from edgekit.optimize import wrap  # noqa: E402
from edgekit.optimize.training import convert, quantization, report  # noqa: E402
from edgekit.optimize.training.layers import FUSING, ActivationRange  # noqa: E402
from edgekit.optimize.training.mixed import with_floats  # noqa: E402
from edgekit.optimize.training.sensitivity import keep_floats, rounding_errors  # noqa: E402

FLOAT, INT8 = np.dtype(np.float32), np.dtype(np.int8)


class Spiked(nn.Module):
    """A large network with a tensor, behind a small layer, of which a few values reach very far."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU())
        self.narrow, self.pool, self.head = nn.Conv2d(64, 8, 1), nn.MaxPool2d(2), nn.Linear(8 * 16, 4)
        with torch.no_grad():
            self.narrow.bias[0] = 2000.0
            self.head.weight[:, :16] = 0
            self.head.bias.zero_()

    def forward(self, x: Any) -> Any:
        return self.head(self.pool(self.narrow(self.body(x))).flatten(1))


class Uneven(nn.Module):
    """A network with a layer that has one large weight, for what is never there, among small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU())
        self.narrow, self.head = nn.Conv2d(64, 8, 1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.body[2].weight[0] = 0
            self.body[2].bias[0] = -1.0
            self.narrow.weight[:, 0] = 1000.0
            self.narrow.bias.zero_()
            self.head.bias.zero_()

    def forward(self, x: Any) -> Any:
        return self.head(self.narrow(self.body(x)))


class Branching(nn.Module):
    """Something of all that hands values on, adds, gates and resizes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU()
        self.deep, self.join = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(16, 8, 1)
        self.pool, self.head = nn.MaxPool2d(3, 2, 1), nn.Linear(8 * 16, 5)

    def forward(self, x: Any) -> Any:
        wide = functional.interpolate(self.act(self.two(x)), scale_factor=2.0, mode="nearest")
        near = torch.relu(self.deep(self.act(self.one(x))))
        joined = self.join(torch.cat([near, wide], 1)) + near
        return self.head(self.pool(joined[:, :, 1:, :]).flatten(1))


def outputs(graph: Graph, images: Any) -> Any:
    """Of LiteRT's reference kernels, as real numbers; the native engine's are the same where it runs it."""
    data, (source,), (result,) = model.write(graph), graph.inputs, graph.outputs
    info, out = graph.tensors[source], graph.tensors[result]
    assert info.scale is not None
    assert info.zero_point is not None
    assert out.scale is not None
    assert out.zero_point is not None
    native = plan.refusal(plan.prepare(graph)) is None
    runner = engine.load_graph(graph, "net", "native", exact=True) if native else None
    found = []
    for image in images:
        values = image.movedim(0, -1).numpy() / info.scale[0] + info.zero_point[0]
        stored = np.rint(values).clip(-128, 127).astype(np.int8)[None]
        found.append(run_litert(data, stored)[0][0])
        if runner is not None:
            np.testing.assert_array_equal(runner.run(stored)[0][0], found[-1])
    real = (np.stack(found) - out.zero_point[0]) * out.scale[0]
    return np.moveaxis(real, -1, 1) if real.ndim == 4 else real


def error(got: Any, wanted: Any) -> float:
    """The mean squared error as a share of the variance."""
    return float(np.square(got - wanted).mean() / wanted.var())


@pytest.mark.parametrize(("kind", "part"), [(Spiked, "what narrow gives"), (Uneven, "the weights of narrow")])
def test_what_int8_is_too_coarse_for_stays_float32(kind: Any, part: str) -> None:
    torch.manual_seed(3)
    net, images = kind().eval(), pictures(12)
    with torch.no_grad():
        wanted = net(images).numpy()
    coarse = quantized(copy.deepcopy(net), images).eval()
    fine = copy.deepcopy(coarse)
    assert next(iter(rounding_errors(fine, images))) == part
    lines = keep_floats(fine, images, 1)
    assert len(lines) == 1
    assert f"int8 is too coarse for {part}: " in lines[0]
    assert lines[0].endswith("it stays float32")
    quantization.calibrate(fine, [images])
    assert keep_floats(fine, images, 2) == []
    assert part not in rounding_errors(fine, images)
    graphs = [convert.build(one, images[:1]) for one in (coarse, fine)]
    assert not any(tensor.dtype == FLOAT for tensor in graphs[0].tensors)
    assert plan.refusal(plan.prepare(graphs[1])) is None
    errors = [error(outputs(graph, images), wanted) for graph in graphs]
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def trained(keep_float: int, steps: int, state: Any = None) -> Any:
    """A session of `steps` steps of an epoch with int8 all along, on a network that this breaks."""
    torch.manual_seed(3)
    net = Spiked()
    stages = {"stages": [{"quantize": {"end": 2, "keep_float": keep_float, "freeze": 1}}]}
    session = wrap(net, torch.optim.SGD(net.parameters(), 1e-6), stages, STEPS)
    if state is not None:
        session.load_state_dict(state)
    while session.steps < steps:
        net(pictures(8, seed=session.steps)).square().mean().backward()
        session.step()
        session.zero_grad()
    return session


def test_a_training_goes_on_behind_what_stays_float32(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "edgekit.optimize"):
        session = trained(2, 2 * STEPS)
    assert "int8 is too coarse for what narrow gives" in caplog.text
    assert caplog.text.count("it stays float32") == 1
    content = session.content(pictures(1))
    tensors = {tensor.name: tensor for tensor in model.read_bytes(content).tensors}
    assert tensors["narrow"].dtype == tensors["pool"].dtype == FLOAT
    kinds = {row["name"]: row["kind"] for row in report.facts(content)["layers"]}
    assert kinds["body_0"] == "conv_2d"
    assert kinds["narrow"] == "conv_2d on float32"
    for step in (1, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS):
        again = trained(2, 2 * STEPS, copy.deepcopy(trained(2, step).state_dict()))
        assert again.content(pictures(1)) == content, step


def test_a_loop_may_name_what_it_gives() -> None:
    torch.manual_seed(3)
    net = Spiked()
    stages = {"stages": [{"quantize": {"end": 1}}]}
    session = wrap(net, torch.optim.SGD(net.parameters(), 1e-6), stages, STEPS)
    for _ in range(STEPS):
        net(x=pictures(8)).square().mean().backward()
        session.step()
    tensors = {tensor.name: tensor for tensor in model.read_bytes(session.content(pictures(1))).tensors}
    assert tensors["narrow"].dtype == FLOAT
    assert not net._forward_pre_hooks


def test_all_is_int8_where_the_recipe_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "edgekit.optimize"):
        graph = model.read_bytes(trained(0, 2 * STEPS).content(pictures(1)))
    assert "float32" not in caplog.text
    assert not any(tensor.dtype == FLOAT for tensor in graph.tensors)


def test_inputs_and_outputs_stay_int8() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    images = pictures()
    quantized(net, images)
    with torch.no_grad():
        net[2].weight.mul_(1e-2)  # its range stays as it was
        net[2].bias.mul_(1e-2)
    assert next(iter(rounding_errors(net, images))) == "what 2 gives"
    assert keep_floats(net, images, 2) == []
    graph = convert.build(net, images[:1])
    assert graph.tensors[graph.outputs[0]].dtype == INT8
    with pytest.raises(ModelError, match="stay int8"):
        with_floats(graph, {graph.outputs[0]}, {})


@examples(25)
@given(st.integers(0, 2**31), st.floats(0.05, 0.9))
def test_any_parts_may_stay_float32(seed: int, share: float) -> None:
    torch.manual_seed(seed % 5)
    net = quantized(Branching().eval())
    rng = np.random.default_rng(seed)
    inner = [m for m in net.modules() if isinstance(m, (*FUSING, ActivationRange)) and rng.random() < share]
    graph = convert.build(net, pictures(1))
    for part in inner:
        for one in part.group if isinstance(part, ActivationRange) else [part]:
            one.rounds = False
    ends = [one for name, one in net.activation_ranges.items() if name.startswith(("x_", "head_"))]
    assert len(ends) == 2
    for one in ends:
        one.rounds = True
    images = pictures(4, seed=seed % 1000)
    with torch.no_grad():
        wanted = net.eval()(images).numpy()
    scale = graph.tensors[graph.outputs[0]].scale
    assert scale is not None
    apart = np.abs(outputs(convert.build(net, images[:1]), images) - wanted) / scale[0]
    assert (apart < 1.5).mean() > 0.95
    assert apart.max() < 2.5
