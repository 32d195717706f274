"""Transposed convolutions in networks that are trained, pruned and exported."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

from exported import STEPS, compare, pictures, quantized, run_litert  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from edgekit import engine, model  # noqa: E402
from edgekit.optimize import wrap  # noqa: E402
from edgekit.optimize.training import convert, quantization  # noqa: E402


def ways_up() -> list[Any]:
    """Windows, strides, paddings and output paddings of transposed convolutions."""
    found = itertools.product((2, 3, 4), (1, 2, 3), (0, 1), (0, 1))
    return [way for way in found if way[3] < way[1] and 2 * way[2] < way[0] + way[3]]


@pytest.mark.parametrize("way", ways_up(), ids=str)
def test_transposed_convolutions_are_exported_as_they_were_trained(way: Any) -> None:
    torch.manual_seed(sum(way))
    behind: list[list[nn.Module]] = [[], [nn.ReLU()], [nn.BatchNorm2d(8), nn.ReLU6()]]
    layers = behind[sum(way) % 3]
    up = nn.ConvTranspose2d(6, 8, *way, bias=not layers)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), up, *layers).train()
    net(pictures())
    net = quantized(net.eval(), pictures(64))
    graph = model.read_bytes(convert.export(net, pictures(1)))
    kinds = [op.kind for op in graph.ops]
    assert kinds in (["CONV_2D", "TRANSPOSE_CONV"], ["CONV_2D", "TRANSPOSE_CONV", "SLICE"])
    assert (compare(net, pictures(4, seed=8)) <= 1).mean() >= 0.99


@pytest.mark.parametrize(
    ("way", "padding", "cut"),
    [((2, 2), "VALID", 0), ((4, 2, 1), "SAME", 0), ((3, 2, 1, 1), "VALID", 1), ((3, 1, 1), "SAME", 0)],
    ids=str,
)
def test_an_output_is_cut_only_where_no_padding_says_it(way: Any, padding: str, cut: int) -> None:
    net = quantized(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ConvTranspose2d(6, 8, *way)))
    graph = model.read_bytes(convert.export(net, pictures(1)))
    (op,) = [op for op in graph.ops if op.kind == "TRANSPOSE_CONV"]
    assert op.options["padding"] == padding
    assert sum(op.kind == "SLICE" for op in graph.ops) == cut


def test_each_output_channel_of_a_transposed_convolution_has_its_scale() -> None:
    up = nn.ConvTranspose2d(6, 4, 3)
    with torch.no_grad():
        up.weight.mul_(torch.tensor([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1))
    net = quantized(nn.Sequential(nn.Conv2d(3, 6, 1), up))
    largest = net[1].weight.detach().abs().amax((0, 2, 3))
    torch.testing.assert_close(net[1].weight_scales(), largest / 127)
    tensors = model.read_bytes(convert.export(net, pictures(1))).tensors
    stored = next(one for one in tensors if one.shape == (4, 3, 3, 6))
    assert stored.data is not None
    assert (np.abs(np.asarray(stored.data, np.int64)).max((1, 2, 3)) == 127).all()


class Unet(nn.Module):
    """Down and up again by transposed convolutions, with what it saw on the way down beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.block(3, 8)
        self.second = self.block(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.last = self.block(16, 8)
        self.more = nn.ConvTranspose2d(8, 8, 3, 2, 1, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def block(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, x: Any) -> Any:
        wide = self.first(x)
        deep = self.second(functional.max_pool2d(wide, 2))
        both = torch.cat([wide, functional.relu(self.norm(self.up(deep)))], 1)
        return self.head(functional.relu6(self.more(self.last(both))))


def unet() -> Any:
    torch.manual_seed(2)
    net = Unet().train()
    for _ in range(3):
        net(pictures())
    return net


def train_unet(stages: list[Any], steps: int) -> Any:
    net = unet()
    optimizer = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    session = wrap(net, optimizer, stages, STEPS)
    for step in range(steps):
        images = pictures(8, seed=step)
        optimizer.zero_grad()
        (net(images)[:, 0] - functional.interpolate(images, scale_factor=2)[:, 0]).square().mean().backward()
        optimizer.step()
    return session


def test_a_norm_behind_a_transposed_convolution_is_folded_into_it() -> None:
    net = unet().eval()
    with torch.no_grad():
        net.norm.weight.uniform_(0.5, 2)
        before = net(pictures())
        quantization.quantize(net)
        after = net(pictures())  # no range is set yet, so nothing is rounded
    assert isinstance(net.norm, nn.Identity)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "2:4", "channels"])
@pytest.mark.parametrize("kind", ["prune", "sparse_train"])
def test_transposed_convolutions_are_pruned_along_their_inputs_if_named(kind: str, pattern: str) -> None:
    if (kind, pattern) == ("sparse_train", "2:4"):
        pytest.skip("a recipe cannot say it")
    sparsity = {} if pattern == "2:4" else {"sparsity": 0.5}
    stage = {"end": 2, "every": 2, "pattern": pattern, "layers": ["up"], **sparsity}
    stage |= {"score": "output"} if kind == "prune" and pattern != "channels" else {}
    session = train_unet([{kind: stage}, {"quantize": {"start": 2, "end": 3}}], 3 * STEPS)
    graph = model.read_bytes(session.content(pictures(1)))
    stored = next(t for t in graph.tensors if t.name == "up_weights")
    assert stored.data is not None
    assert stored.shape == (8, 2, 2, 16)
    tiles = (stored.data != 0).reshape(-1, {"1x4": 4, "2:4": 4, "channels": 64}.get(pattern, 1))
    kept = session.masks.masks["up"].permute(1, 2, 3, 0).numpy().reshape(tiles.shape) != 0
    assert not (tiles & ~kept).any()
    assert set(kept.mean(1)) == ({0.5} if pattern == "2:4" else {0.0, 1.0})
    assert kept.mean() == pytest.approx(0.5, abs=0.02)
    assert (compare(session.model, pictures(4, seed=8)) <= 1).mean() >= 0.98


def test_transposed_convolutions_stay_dense_unless_they_are_named() -> None:
    session = train_unet([{"prune": {"end": 1, "sparsity": 0.5}}], STEPS)
    assert set(session.masks.masks) == {"second.0", "last.0"}
    with torch.no_grad():
        session.model.up.weight[:, ::2] = 0
    kept = wrap(session.model, session.optimizer, [{"transfer": {"end": 1}}], STEPS)
    assert torch.equal(kept.masks.masks["up"], (session.model.up.weight != 0).float())


def test_a_sparse_transposed_convolution_makes_the_file_smaller() -> None:
    net = nn.Sequential(nn.Conv2d(3, 32, 1), nn.ConvTranspose2d(32, 32, 3, 2, 1, 1))
    with torch.no_grad():
        net[1].weight[:, torch.arange(32) % 8 > 0] = 0
    graph = model.read_bytes(convert.export(quantized(net), pictures(1)))
    plain, sparse = model.write(graph), model.write(graph, sparse=True)
    assert len(sparse) < 0.6 * len(plain)
    stored = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    wanted = run_litert(plain, stored)[0]
    np.testing.assert_array_equal(run_litert(sparse, stored)[0], wanted)
    runner = engine.load_graph(model.read_bytes(sparse), "net", "native", exact=True)
    np.testing.assert_array_equal(runner.run(stored)[0], wanted)


def test_one_shot_leaves_transposed_convolutions_as_they_are() -> None:
    from edgekit.optimize.oneshot import Calibration, Goal, prune
    from edgekit.optimize.oneshot.pattern import parse_pattern

    graph = model.read_bytes(convert.export(quantized(unet().eval()), pictures(1)))
    rng = np.random.default_rng(0)
    inputs = [[rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)] for _ in range(16)]
    pruned, report = prune(graph, Calibration(inputs), Goal(parse_pattern("1x4"), 0.5), lambda _line: None)
    notes = {line.name: line.note for line in report.lines}
    assert notes["up_weights"] == notes["more_weights"] == "dense: transposed"
    before, after = ({t.name: t.data for t in one.tensors} for one in (graph, pruned))
    np.testing.assert_array_equal(before["up_weights"], after["up_weights"])
    assert report.sparsity > 0.45
