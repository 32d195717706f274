"""Training by a recipe: masks, schedules, teachers, int8 arithmetic and the exported file."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConfigError, DivergedError, ModelError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

torch.set_num_threads(1)  # others would wait for each other

from exported import STEPS, compare, pictures, quantized  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from edgekit import model  # noqa: E402
from edgekit.optimize import wrap  # noqa: E402
from edgekit.optimize.training import convert, quantization  # noqa: E402
from edgekit.optimize.training.distillation import feature_likeness, likeness  # noqa: E402
from edgekit.optimize.training.divergence import are_finite  # noqa: E402
from edgekit.optimize.training.equalization import equalize  # noqa: E402
from edgekit.optimize.training.layers import ActivationRange, QuantConv2d, QuantScale  # noqa: E402
from edgekit.optimize.training.masks import (  # noqa: E402
    Pattern,
    choose,
    contributions,
    densities,
    moved,
    stored_order,
)
from edgekit.optimize.training.modifiers import rate  # noqa: E402
from edgekit.optimize.training.sensitivity import complaint, rounding_errors  # noqa: E402
from edgekit.optimize.training.sparsifying import cubic  # noqa: E402
from edgekit.optimize.training.stages import PruneStage, RateStage, load_schedule  # noqa: E402
from edgekit.optimize.training.tracing import trace  # noqa: E402

WHOLE = [
    {"learning_rate": {"end": 4, "peak": 0.1}},
    {"prune": {"start": 1, "end": 3, "sparsity": 0.75, "pattern": "1x4", "every": 2}},
    {"distill": {"start": 1, "end": 6, "teacher": "self"}},
    {"learning_rate": {"start": 4, "end": 6, "peak": 0.02}},
    {"quantize": {"start": 4, "end": 6}},
]


class Small(nn.Module):
    """A residual network for 8 x 8 images, with batch norms, padding and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.wide = nn.Conv2d(8, 16, 1)
        self.deep = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.stem_norm(self.stem(functional.pad(x, (0, 1, 0, 1)))))
        x = functional.relu6(self.deep(self.wide(x + self.body(x))))
        return self.head(x.mean((2, 3)))


def small(seed: int = 0) -> Any:
    """A network whose batch norms have seen pictures."""
    torch.manual_seed(seed)
    net = Small()
    for _ in range(3):
        net.train()(pictures())
    return net


def train(
    recipe: Any, *, steps: int, state: Any = None, net: Any = None, teacher: Any = None, every: Any = None
) -> Any:
    """Train up to a step; batches depend on the step alone. Returns the session."""
    net = net or small()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    session = wrap(net, optimizer, recipe, STEPS, teacher)
    if state is not None:
        session.load_state_dict(state)
    net.train()
    while session.steps < steps:
        images = pictures(8, seed=session.steps)
        labels = (images.mean((1, 2, 3)) * 20).long().clamp(0, 2)
        optimizer.zero_grad()
        functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
        if every:
            every(session)
    return session


# ---- schedules and recipes -------------------------------------------------------------------------


def test_sparsity_follows_the_cubic_schedule() -> None:
    stage = PruneStage(end=10, sparsity=0.8, initial=0.2)
    assert cubic(stage, 0) == pytest.approx(0.2)
    assert cubic(stage, 0.5) == pytest.approx(0.8 - 0.6 / 8)
    assert cubic(stage, 1) == cubic(stage, 2) == pytest.approx(0.8)


def test_rate_warms_up_and_falls_by_a_cosine() -> None:
    stage = RateStage(end=1, peak=1.0, last=0.1, warmup=0.1)
    values = [rate(stage, step, 100) for step in range(101)]
    assert values[:10] == sorted(values[:10])
    assert max(values) == values[10] == 1.0
    assert values[55] == pytest.approx(0.55)
    assert values[100] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("prune: {end: 2, sparsity: 1}", ":4:31: stages[0].prune.sparsity: expected a number from 0 and"),
        ("prune: {end: 2, sparsity: 0.5, patern: 1x4}", "unknown key, did you mean 'pattern'?"),
        ("prune: {start: 3, end: 2, sparsity: 0.5}", "4:20: stages[0].prune.start: starts at epoch 3"),
        ("prune: {end: 2, pattern: '4:2'}", "stages[0].prune.pattern: keeps 4 of 2"),
        ("prune: {end: 2, pattern: 1-4, sparsity: 0.5}", "N:M like 2:4"),
        ("prune: {end: 2, sparsity: 0.4, pattern: '2:4'}", "prune.sparsity: 2:4 has a sparsity of 0.5"),
        ("prune: {end: 2}", "missing sparsity"),
        ("prune: {end: 2, sparsity: 0.5, pattern: channels, score: output}", "prune.score: output compares"),
        ("prune: {end: 2, sparsity: 0.5}\n    distill: {end: 1}", "expected one key"),
        ("pruning: {end: 2}", "did you mean 'prune'?"),
        ("sparse_train: {end: 2, pattern: '2:4'}", "prune to it"),
        ("quantize: {end: 2, input_range: [1, 2]}", "input_range"),
        ("quantize: {end: 2}\n  - prune: {end: 1, sparsity: 0.5}", "masks are frozen"),
    ],
)  # fmt: skip
def test_mistakes_in_a_recipe_are_told_with_their_place(tmp_path: Path, stage: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"version: 1\n\nstages:\n  - {stage}\n")
    with pytest.raises(ConfigError) as caught:
        load_schedule(path)
    assert str(caught.value).startswith(f"{path}:")
    assert said in str(caught.value)


def test_a_layer_that_does_not_exist_is_told() -> None:
    recipe = [{"prune": {"end": 1, "sparsity": 0.5, "layers": ["bodi.0"]}}]
    with pytest.raises(ConfigError, match=r"no layer 'bodi.0', did you mean 'body.0'"):
        train(recipe, steps=0)
    with pytest.raises(ConfigError, match=r"'body' is no convolution.*body\.\*"):
        train([{"prune": {"end": 1, "sparsity": 0.5, "layers": ["body"]}}], steps=0)


def test_a_distillation_needs_a_teacher() -> None:
    with pytest.raises(ConfigError, match="no teacher"):
        train([{"distill": {"end": 1}}], steps=0)


# ---- masks -----------------------------------------------------------------------------------------


def test_unstructured_masks_take_the_smallest_weights_of_all_layers() -> None:
    torch.manual_seed(1)
    weights = [torch.randn(8, 4, 3, 3), 5 * torch.randn(6, 8)]
    masks = choose(weights, 0.7, Pattern(), together=True)
    scaled = [w / w.square().mean().sqrt() for w in weights]
    kept = torch.cat([s[m > 0].abs() for s, m in zip(scaled, masks, strict=True)])
    gone = torch.cat([s[m == 0].abs() for s, m in zip(scaled, masks, strict=True)])
    assert gone.max() <= kept.min()
    assert len(gone) == int(0.7 * (8 * 4 * 9 + 48))


@pytest.mark.parametrize("together", [False, True])
def test_of_equal_weights_no_more_go_than_shall(together: bool) -> None:
    """As in a network that was read from integers."""
    weights = [torch.ones(8, 8), torch.ones(16, 8)]
    masks = choose(weights, 0.25, Pattern(), together=together)
    assert sum(int((mask == 0).sum()) for mask in masks) == 48


@pytest.mark.parametrize(
    ("text", "axes"), [("1x4", (1, 4)), ("4x1", (4, 1)), ("8xall", (8, 72)), ("channels", (1, 72))]
)
def test_blocks_go_whole_and_are_the_weakest(text: str, axes: tuple[int, int]) -> None:
    torch.manual_seed(2)
    weight = torch.randn(16, 8, 3, 3)
    mask = choose([weight], 0.5, Pattern.parse(text), together=False)[0]
    stored = stored_order(mask).numpy()
    flat = stored.reshape(16, -1) if axes[1] == 72 else stored.transpose(1, 0, 2).reshape(9 * 16, 8)
    tiles = flat.reshape(len(flat) // axes[0], axes[0], flat.shape[1] // axes[1], axes[1])
    shares = tiles.mean((1, 3))
    assert set(np.unique(shares)) == {0.0, 1.0}
    assert (mask == 0).float().mean() == pytest.approx(0.5)
    power = (stored_order(weight).numpy() ** 2).reshape(-1)
    order = flat_power(power, axes)
    assert order[shares == 0].max() <= order[shares == 1].min()


def flat_power(power: Any, axes: tuple[int, int]) -> Any:
    whole = power.reshape(16, 9, 8)
    flat = whole.reshape(16, -1) if axes[1] == 72 else whole.transpose(1, 0, 2).reshape(9 * 16, 8)
    return flat.reshape(len(flat) // axes[0], axes[0], flat.shape[1] // axes[1], axes[1]).sum((1, 3))


def test_n_of_m_keeps_the_largest_of_every_group() -> None:
    torch.manual_seed(3)
    weight = torch.randn(8, 8, 3, 3)
    mask = choose([weight], 0.5, Pattern.parse("2:4"), together=True)[0]
    groups = stored_order(weight).abs().reshape(-1, 4)
    kept = stored_order(mask).reshape(-1, 4)
    assert (kept.sum(1) == 2).all()
    assert ((groups * kept).sum(1) == groups.topk(2, 1).values.sum(1)).all()


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(8, 12, 1, bias=False), nn.Conv2d(8, 12, 1, groups=2, bias=False), nn.Linear(8, 12, False)],
)
def test_contributions_are_what_an_output_loses_with_a_weight(layer: Any) -> None:
    torch.manual_seed(5)
    channels = torch.linalg.qr(torch.randn(64, 8))[0] * (
        0.1 + 5 * torch.rand(8)
    )  # they have nothing in common
    inputs = channels if isinstance(layer, nn.Linear) else channels[..., None, None]
    shares = contributions(layer.weight, channels.square().mean(0)).square()
    assert torch.allclose(shares.flatten(1).sum(1), torch.ones(12))
    with torch.no_grad():
        whole = layer(inputs)
        for row, column in itertools.product(range(12), range(shares.shape[1])):
            kept = layer.weight[row, column].clone()
            layer.weight[row, column] = 0
            lost = (whole - layer(inputs)).square().sum() / whole[:, row].square().sum()
            layer.weight[row, column] = kept
            assert float(lost) == pytest.approx(float(shares[row, column].sum()), rel=1e-3, abs=1e-6)


def test_pruning_by_output_takes_weights_of_small_inputs_first() -> None:
    torch.manual_seed(6)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    stage = {"end": 2, "sparsity": 0.5, "every": 1, "score": "output", "layers": ["0"]}
    session = wrap(model, optimizer, [{"prune": stage}], 4)
    with torch.no_grad():
        model[0].weight.fill_(1.0)[:, :4] = 10.0  # the larger weights, of inputs that are a hundredth
    for _ in range(8):
        model(torch.randn(16, 8) * torch.tensor([0.01] * 4 + [1.0] * 4)).sum().backward()
        session.step()
    assert (session.masks.masks["0"] == torch.tensor([0.0] * 4 + [1.0] * 4)).all()
    assert not model[0]._forward_pre_hooks


def test_pruned_weights_learn_on_and_may_come_back_until_the_end() -> None:
    stage = {"end": 3, "sparsity": 0.5, "every": 1, "layers": ["wide"]}
    recipe = [{"learning_rate": {"end": 3, "peak": 1.0}}, {"prune": stage}]
    masks = []
    session = train(recipe, steps=12, every=lambda s: masks.append(s.masks.masks["wide"].clone()))
    assert not session.masks.hidden
    returned = sum(int((new > old).sum()) for old, new in itertools.pairwise(masks))
    assert returned > 0
    assert session.sparsity()["wide"] == pytest.approx(0.5, abs=0.01)


def test_sparse_training_moves_weights_to_steep_gradients_and_keeps_their_number() -> None:
    torch.manual_seed(4)
    weight = torch.nn.Parameter(torch.randn(8, 8))
    mask = choose([weight], 0.75, Pattern(), together=False)[0]
    weight.grad = torch.rand(8, 8)
    after = moved(mask, weight, weight.grad, 0.25, Pattern())
    assert after.sum() == mask.sum() == 16
    gone, come = (mask > after), (after > mask)
    assert weight[gone].abs().max() <= weight[(mask > 0) & ~gone].abs().min()
    still = (mask == 0) & ~come
    assert weight.grad[come].min() >= weight.grad[still].max()


def test_sparse_training_keeps_the_sparsity_from_first_to_last_step() -> None:
    recipe = [{"sparse_train": {"end": 3, "sparsity": 0.8, "every": 2, "layers": ["body.0", "wide"]}}]
    seen = []
    session = train(recipe, steps=12, every=lambda s: seen.append(zeros(s.model)))
    assert min(seen) == max(seen) >= 0.75
    assert session.sparsity()["body.0"] > session.sparsity()["wide"]  # erk: small layers stay denser


def zeros(net: Any) -> float:
    weights = torch.cat([net.body[0].weight.ravel(), net.wide.weight.ravel()])
    return float((weights == 0).float().mean())


def test_layer_densities_meet_the_budget() -> None:
    shapes = [torch.Size((8, 8, 3, 3)), torch.Size((16, 8, 1, 1)), torch.Size((64, 64, 3, 3))]
    shares = densities(shapes, 0.1, "erk")
    total = sum(shape.numel() for shape in shapes)
    assert sum(s * shape.numel() for s, shape in zip(shares, shapes, strict=True)) == pytest.approx(
        0.1 * total
    )
    assert max(shares) <= 1
    assert shares[2] < shares[0]


def test_transfer_keeps_every_zero() -> None:
    net = small()
    with torch.no_grad():
        net.wide.weight[:, ::2] = 0
    before = net.wide.weight.detach().clone()
    session = train([{"transfer": {"end": 2}}], steps=8, net=net)
    assert (net.wide.weight[:, ::2] == 0).all()
    assert not torch.equal(net.wide.weight, before)
    assert session.sparsity() == {"wide": 0.5}


# ---- teachers --------------------------------------------------------------------------------------


def test_distillation_adds_the_gradient_of_the_joint_loss() -> None:
    teacher, images, labels = small(seed=5).eval(), pictures(8), torch.arange(8) % 3
    stage = {"end": 9, "weight": 0.4, "temperature": 2.0, "features": {"wide": "wide"}, "feature_weight": 0.3}
    taught, plain = small(), small()
    wrap(
        taught, torch.optim.SGD(taught.parameters(), 0.1), [{"distill": stage}], STEPS, copy.deepcopy(teacher)
    )
    functional.cross_entropy(taught.train()(images), labels).backward()

    seen: dict[str, Any] = {}
    plain.wide.register_forward_hook(lambda m, i, o: seen.update(own=o))
    teacher.wide.register_forward_hook(lambda m, i, o: seen.update(wanted=o.detach()))
    with torch.no_grad():
        wanted = teacher(images)
    own = plain.train()(images)
    joint = 0.6 * functional.cross_entropy(own, labels) + 0.4 * likeness(own, wanted, "softmax", 2.0)
    (joint + 0.3 * feature_likeness(seen["own"], seen["wanted"])).backward()
    for one, other in zip(taught.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_softened_classes_are_compared_by_their_divergence() -> None:
    own, wanted = torch.randn(4, 3), torch.randn(4, 3)
    p, q = (wanted / 3).softmax(1), (own / 3).softmax(1)
    divergence = float((p * (p / q).log()).sum(1).mean())
    assert float(likeness(own, wanted, "softmax", 3.0)) == pytest.approx(9 * divergence, rel=1e-4)


def test_files_teach_what_they_compute(tmp_path: Path) -> None:
    from edgekit.optimize.training.teachers import load_teacher

    net = quantized(small())
    path = tmp_path / "teacher.tflite"
    convert.export(net, pictures(1), path)
    names = [tensor.name for tensor in model.read(path).tensors]
    outputs, features = load_teacher(path, ["deep"])((pictures(4),))
    with torch.no_grad():
        wanted = net.eval()(pictures(4))
    scale = model.read(path).tensors[model.read(path).outputs[0]].scale
    assert scale is not None
    assert "deep" in names
    assert (outputs[0] - wanted).abs().max() <= 2 * scale[0]
    assert features["deep"].shape == (4, 16, 4, 4)
    with pytest.raises(ConfigError, match="did you mean 'deep'"):
        load_teacher(path, ["deap"])
    with pytest.raises(ConfigError, match=r"expected a teacher that is a \.onnx or \.tflite file"):
        load_teacher(tmp_path / "teacher.h5", [])


FREEZE = [{"learning_rate": {"end": 4, "peak": 0.1}}, {"freeze": {"end": 2, "skip": ["head"]}}]


def learned(session: Any, before: dict[str, Any]) -> list[str]:
    """The layers whose weights have changed."""
    now = {name: layer.weight for name, layer in session.model.named_modules() if name in before}
    return sorted(name for name in now if not torch.equal(now[name], before[name]))


def test_frozen_layers_learn_nothing_until_the_stage_is_over_even_after_a_resume() -> None:
    net = small()
    before = {
        n: m.weight.detach().clone() for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    }
    half = train(FREEZE, steps=STEPS, net=net)
    assert learned(half, before) == ["head"]
    assert net.wide.weight.grad is None
    resumed = train(FREEZE, steps=2 * STEPS, state=copy.deepcopy(half.state_dict()))
    assert learned(resumed, before) == ["head"]
    over = train(FREEZE, steps=2 * STEPS + 1, state=copy.deepcopy(half.state_dict()))
    assert learned(over, before) == sorted(before)


def test_a_stage_that_freezes_unknown_layers_says_which_it_may_mean() -> None:
    with pytest.raises(ConfigError, match=r"layers\[0\]: .*did you mean 'head'"):
        train([{"freeze": {"end": 2, "layers": ["haed"]}}], steps=0)


# ---- int8 ------------------------------------------------------------------------------------------


def test_folding_batch_norms_changes_nothing_but_rounding() -> None:
    net = small().eval()
    with torch.no_grad():
        before = net(pictures())
        quantization.quantize(net)
        after = net(pictures())  # no range is set yet, so nothing is rounded
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("least", "kinds"), [(0.1, [nn.MaxPool2d]), (-1.0, [nn.MaxPool2d, QuantScale])])
def test_max_pooling_moves_behind_batch_norms_of_positive_factors(least: float, kinds: list[Any]) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)
    ).eval()
    norm: Any = network[2]
    with torch.no_grad():
        norm.weight.uniform_(least, 2)
        norm.weight[0] = least
        norm.bias.uniform_(-1, 1)
    images = torch.rand(4, 3, 12, 12) * 2 - 1
    wanted = network(images)
    quantization.quantize(network)
    assert torch.allclose(network(images), wanted, atol=1e-5)  # no range is set yet: nothing is rounded
    graph = quantization.graph_of(network)
    found = [type(graph.get_submodule(str(n.target))) for n in graph.graph.nodes if n.op == "call_module"]
    assert [kind for kind in found if kind in (nn.MaxPool2d, QuantScale)] == kinds


def test_uneven_channels_before_a_depthwise_layer_are_evened_out() -> None:
    """One channel reaches a thousand times as far as the others: int8 still tells them apart."""
    torch.manual_seed(6)
    uneven = nn.BatchNorm2d(8)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=False), uneven, nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8, bias=False)
    ).eval()
    with torch.no_grad():
        uneven.weight[0], uneven.bias[0] = 100.0, 50.0
        uneven.weight[1:], uneven.bias[1:] = 0.1, 0.05
        network[3].weight[0] /= 1000  # behind it all channels are alike
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    network.requires_grad_(requires_grad=False)
    wanted = network(images)
    quantization.quantize(network)
    assert torch.allclose(network(images), wanted, atol=1e-4)  # no range is set yet: nothing is rounded
    quantization.calibrate(network, [images])
    errors = (network(images) - wanted).square().mean((0, 2, 3)) / wanted.square().mean((0, 2, 3))
    assert float(errors.max()) < 1e-3


@pytest.mark.parametrize(
    "middle", [[nn.SiLU()], [nn.ReLU6()], [nn.ReLU(), nn.Conv2d(8, 8, 1, bias=False)]], ids=str
)
def test_channels_are_left_alone_where_that_would_cost(middle: list[nn.Module]) -> None:
    norm = nn.BatchNorm2d(8)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), norm, *middle, nn.Conv2d(8, 8, 3, groups=8)).eval()
    with torch.no_grad():
        norm.weight[0] = 100.0
    before = norm.weight.clone()
    equalize(trace(network))
    assert torch.equal(norm.weight, before)


class Gated(nn.Module):
    """A layer that hands its input on, then a SiLU; maybe something else reads what the SiLU reads."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.conv, self.act, self.shared = nn.Conv2d(1, 1, 1, bias=False), nn.SiLU(), shared
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        return self.act(x) + x if self.shared else self.act(x)


@pytest.mark.parametrize(("shared", "lowest"), [(False, quantization.SILU_LEAST), (True, -100.0)])
def test_a_range_that_only_a_silu_reads_ends_where_the_gate_is_zero(shared: bool, lowest: float) -> None:
    values = torch.linspace(-100, 10, 4096).reshape(1, 1, 64, 64)
    net = quantized(Gated(shared=shared).eval(), values)
    behind = next(one for name, one in net.activation_ranges.items() if name.startswith("conv"))
    scale, zero_point = behind.quant()
    assert scale * (-128 - zero_point) == pytest.approx(lowest, abs=scale / 2)
    if not shared:
        with torch.no_grad():
            assert not net.eval()(values)[values < quantization.SILU_LEAST].any()


def test_quantisation_keeps_the_parameters_that_the_optimiser_has() -> None:
    net = small()
    before = {id(one) for one in net.parameters()}
    quantization.quantize(net)
    assert {id(one) for one in net.parameters()} <= before
    assert isinstance(net.body[0], QuantConv2d)


def test_a_copy_of_a_quantised_network_stands_alone() -> None:
    net = quantized(small()).eval()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        wanted = net(pictures())
        for one in net.parameters():
            one.zero_()
        assert torch.equal(twin(pictures()), wanted)


def test_exported_integers_are_those_of_training() -> None:
    net = train(WHOLE, steps=24).model
    graph = model.read_bytes(convert.export(net, pictures(1)))
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    scale_in = {name: op_input_scale(graph, f"{name}_weights") for name in ("stem", "wide", "head")}
    for name, layer in (("stem", net.stem), ("wide", net.wide), ("head", net.head)):
        weight = layer.weight.detach().numpy().astype(np.float64)
        axes = tuple(range(1, weight.ndim))
        scales = np.maximum(np.abs(weight).max(axes) / 127, 1e-6).astype(np.float32)  # a dead channel
        stored = tensors[f"{name}_weights"]
        assert stored.data is not None
        assert stored.scale is not None
        np.testing.assert_allclose(stored.scale, scales, rtol=1e-6)
        wanted = np.rint(weight / stored.scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64))
        wanted = wanted.transpose(0, 2, 3, 1) if weight.ndim == 4 else wanted
        assert np.abs(wanted - stored.data).max() <= (1 if near_half(wanted, stored.data) else 0)
        bias = tensors[f"{name}_bias"]
        assert bias.data is not None
        assert bias.scale is not None
        np.testing.assert_allclose(bias.scale, stored.scale * scale_in[name], rtol=1e-6)
        np.testing.assert_allclose(bias.data, layer.bias.detach().numpy() / bias.scale, atol=0.51)


def near_half(wanted: Any, found: Any) -> bool:
    """Whether so few differ that it is a tie of rounding in another precision."""
    return bool((wanted != found).mean() < 0.01)


def op_input_scale(graph: Any, weights: str) -> float:
    op = next(op for op in graph.ops if len(op.inputs) > 1 and graph.tensors[op.inputs[1]].name == weights)
    return float(graph.tensors[op.inputs[0]].scale[0])


def test_exported_file_computes_what_training_computed() -> None:
    net = train(WHOLE, steps=24).model
    apart = compare(net, pictures(64, seed=9))
    assert (apart <= 1).mean() >= 0.988


def test_masks_hold_through_quantisation_to_the_file() -> None:
    session = train(WHOLE, steps=12)
    masks = {name: mask.clone() for name, mask in session.masks.masks.items()}
    session = train(WHOLE, steps=24, state=session.state_dict())
    graph = model.read_bytes(convert.export(session.model, pictures(1)))
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    for name, mask in masks.items():
        data = tensors[name.replace(".", "_") + "_weights"].data
        assert data is not None
        assert (data[mask.numpy().transpose(0, 2, 3, 1) == 0] == 0).all()
        tiles = mask.numpy().transpose(0, 2, 3, 1).reshape(-1, 4)
        assert set(tiles.mean(1)) <= {0.0, 1.0}
    assert set(masks) == {"body.0", "wide"}
    gone = sum(float((mask == 0).sum()) for mask in masks.values()) / sum(m.numel() for m in masks.values())
    assert gone == pytest.approx(0.75, abs=0.01)


def test_ranges_are_frozen_after_half_and_hold_zero() -> None:
    session = train(WHOLE, steps=20)
    ranges = {name: one.quant() for name, one in session.model.activation_ranges.items()}
    session = train(WHOLE, steps=24, state=session.state_dict())
    assert ranges == {name: one.quant() for name, one in session.model.activation_ranges.items()}
    for one in session.model.activation_ranges.values():
        assert one.fixed or (float(one.low) <= 0 <= float(one.high))


def test_joined_ranges_have_one_scale_for_the_union() -> None:
    one, two, three = ActivationRange(), ActivationRange(), ActivationRange()
    for values, part in (([-1.0, 1.0], one), ([0.0, 3.0], two), ([-2.0, 0.0], three)):
        part.train()(torch.tensor(values))
    one.join(two)
    three.join(two)
    assert one.quant() == two.quant() == three.quant()
    assert one.quant()[0] == pytest.approx(5 / 255)


def test_an_input_range_is_taken_as_given() -> None:
    net = small()
    quantization.quantize(net, input_range=(0.0, 255.0))
    quantization.calibrate(net, [255 * torch.rand(4, 3, 8, 8)])
    graph = model.read_bytes(convert.export(net, pictures(1)))
    info = graph.tensors[graph.inputs[0]]
    assert info.scale is not None
    assert info.zero_point is not None
    assert (info.scale[0], info.zero_point[0]) == (1.0, -128)


def test_a_float_network_is_not_exported() -> None:
    with pytest.raises(ModelError, match="not quantised"):
        convert.export(small(), pictures(1))
    net = small()
    quantization.quantize(net)
    with pytest.raises(ModelError, match="calibrate"):
        convert.export(net, pictures(1))


class Branching(nn.Module):
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


class Unknown(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.cumsum(x, 1)


def test_what_cannot_be_exported_is_named() -> None:
    with pytest.raises(ModelError, match=r"Branching: torch.fx cannot follow it"):
        quantization.quantize(Branching())
    with pytest.raises(ModelError, match=r"cumsum"):
        compare(quantized(Unknown()), pictures(1))


class Twice(nn.Module):
    """A convolution, or a batch norm, that is called at two places."""

    def __init__(self, shared: Any) -> None:
        super().__init__()
        self.first, self.shared = nn.Conv2d(3, 8, 3), shared

    def forward(self, x: Any) -> Any:
        return self.shared(torch.relu(self.shared(self.first(x))))


@pytest.mark.parametrize("shared", [nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)])
def test_weights_that_are_called_twice_are_told(shared: Any) -> None:
    with pytest.raises(ModelError, match=r"shared: .* is called 2 times.*a layer of its own"):
        quantization.quantize(Twice(shared))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: nn.ConvTranspose2d(8, 8, 2, 2, groups=8), "shared: a transposed convolution of groups"),
        (lambda: nn.ConvTranspose2d(8, 8, 2, dilation=2), "shared: a dilated transposed convolution"),
        (lambda: nn.Conv1d(8, 8, 2), "shared: Conv1d has no int8 form"),
        (nn.GELU, "shared: GELU has no int8 form"),
        (lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), "shared: padding_mode 'reflect'"),
    ],
)
def test_a_layer_without_an_int8_form_is_told_before_an_epoch_is_spent(layer: Any, said: str) -> None:
    net = nn.Sequential()
    net.first, net.shared = nn.Conv2d(3, 8, 3), layer()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(ModelError, match=said):
        wrap(net, optimizer, {"version": 1, "stages": [{"quantize": {"start": 8, "end": 9}}]}, 4)


class Widened(nn.Module):
    """A depthwise layer that makes two channels of each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 16, 3, groups=8)

    def forward(self, x: Any) -> Any:
        return self.deep(torch.relu(self.norm(self.first(x))))


def test_channels_are_evened_out_where_each_is_read_twice() -> None:
    torch.manual_seed(0)
    net = Widened()
    with torch.no_grad():
        net.norm.weight.copy_(torch.linspace(0.1, 4, 8))
        wanted = net.eval()(pictures(2))
    traced = trace(net)
    equalize(traced)
    with torch.no_grad():
        torch.testing.assert_close(net(pictures(2)), wanted, rtol=1e-4, atol=1e-5)
    assert float(net.norm.weight.detach().std()) < 1


def conv(inputs: int = 3, outputs: int = 8, **options: Any) -> Any:
    return nn.Conv2d(inputs, outputs, 3, **options)


class Chain(nn.Module):
    """A convolution, then a function of its result."""

    def __init__(self, then: Any, **options: Any) -> None:
        super().__init__()
        self.first = conv(**options)
        self.then = then if isinstance(then, nn.Module) else None
        self.function = then

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        return self.then(x) if self.then is not None else self.function(x)


def swapped(x: Any) -> Any:
    one, other = x.chunk(2, 1)
    return torch.cat([other, one], 1)


def squeeze_excite(x: Any) -> Any:
    return x * torch.sigmoid(functional.adaptive_avg_pool2d(x, 1))


CHAINS: dict[str, tuple[Any, dict[str, Any]]] = {
    "relu": (nn.ReLU, {}),
    "silu": (nn.SiLU, {"padding": 1}),
    "hardswish": (nn.Hardswish, {"padding": 1, "stride": 2}),
    "hardsigmoid": (lambda: functional.hardsigmoid, {}),
    "leaky": (lambda: nn.LeakyReLU(0.1), {"dilation": 2}),
    "sigmoid": (lambda: torch.sigmoid, {}),
    "tanh": (lambda: torch.tanh, {}),
    "softmax": (lambda: nn.Softmax(1), {}),
    "clamp": (lambda: lambda x: x.clamp(0, 6), {}),
    "batch norm alone": (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(8)), {}),
    "depthwise": (lambda: nn.Conv2d(8, 16, 3, 2, 1, groups=8), {}),
    "grouped": (lambda: nn.Conv2d(8, 8, 3, groups=2), {}),
    "same": (lambda: nn.Conv2d(8, 8, (3, 5), padding="same"), {}),
    "residual": (lambda: lambda x: functional.relu(x + x * 0.5), {}),
    "difference": (lambda: lambda x: torch.relu(x) - torch.tanh(x), {}),
    "numbers": (lambda: lambda x: (x + 1.5) * -0.5, {}),
    "squeeze": (lambda: squeeze_excite, {}),
    "concat": (lambda: lambda x: torch.cat([x, torch.relu(x)], 1), {}),
    "concat of scales": (lambda: lambda x: torch.cat([x, torch.sigmoid(x)], 1), {}),
    "max pool": (lambda: nn.MaxPool2d(2), {}),
    "max pool padded": (lambda: nn.MaxPool2d(3, 2, 1), {}),
    "average pool": (lambda: nn.AvgPool2d(2), {}),
    "average pool padded": (lambda: nn.AvgPool2d(3, 2, 1), {}),
    "nearest": (lambda: nn.Upsample(scale_factor=2), {}),
    "bilinear": (lambda: lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"), {}),
    "bilinear to a size": (
        lambda: lambda x: functional.interpolate(x, size=x.shape[-1] * 2, mode="bilinear"),
        {},
    ),
    "aligned": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), {}),
    "chunk": (lambda: swapped, {}),
    "split": (lambda: lambda x: torch.split(x, [3, 5], dim=1)[1], {}),
    "range": (lambda: lambda x: x[:, 2:6, 1:], {}),
    "pad": (lambda: lambda x: functional.pad(x, (1, 2, 3, 0)), {}),
    "flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(288, 4)), {}),
    "view": (lambda: lambda x: x.view(x.size(0), -1), {}),
    "permute": (lambda: lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4), {}),
    "mean kept": (lambda: lambda x: x.mean((2, 3), keepdim=True), {}),
    "pool to one": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), nn.ReLU()),
        {},
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_operation_is_exported_as_it_was_trained(name: str) -> None:
    torch.manual_seed(6)
    make, options = CHAINS[name]
    net = Chain(make(), **options)
    net.train()(pictures())
    net = quantized(net.eval(), pictures(64))
    apart = compare(net, pictures(16, seed=8))
    assert (apart <= 1).mean() >= 0.988, np.unique(apart, return_counts=True)


def test_a_lone_batch_norm_keeps_small_channels_apart() -> None:
    """Each channel has a scale of its own: a factor of a thousandth of the largest is no zero."""
    norm = nn.BatchNorm2d(8)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), norm, nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        norm.weight[1:] = 1e-3
    quantized(net)
    layer = next(one for one in net.modules() if isinstance(one, QuantScale))
    assert (layer.integers()[0].abs() == 127).all()


class Wide(nn.Module):
    """A tensor of which a few values reach a thousand times as far as those that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


def test_the_tensor_that_int8_is_too_coarse_for_is_named() -> None:
    torch.manual_seed(0)
    net = Wide().eval()
    even = rounding_errors(quantized(copy.deepcopy(net)), pictures())
    assert not complaint(even)
    assert set(even) >= {"the weights of first", "the weights of head", "what x gives", "what head gives"}
    with torch.no_grad():
        net.second.bias[0] = 1000.0
        net.head.weight[:, 0] = 0
    quantized(net)
    wanted = net(pictures())
    errors = rounding_errors(net, pictures())
    worst = next(iter(errors))
    assert worst == "what ReLU of second gives"
    assert errors[worst] == max(errors.values()) > 0.1
    assert worst in complaint(errors)
    assert torch.equal(net(pictures()), wanted)  # everything is rounded again


def test_parts_that_are_called_alike_are_told_apart() -> None:
    class Gates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.SiLU()
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.second(self.relu(self.act(self.first(x)))))

    net = quantized(Gates())
    names = rounding_errors(net, pictures())
    assert len(names) == len(quantization.ranges(net)) + 2
    assert "what Sigmoid of first gives" in names


# ---- checkpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["magnitude", "output"])
def test_a_resumed_training_ends_with_the_same_bytes(tmp_path: Path, score: str) -> None:
    recipe: list[Any] = copy.deepcopy(WHOLE)
    recipe[1]["prune"]["score"] = score
    wanted = convert.export(train(recipe, steps=24).model, pictures(1))
    for step in (1, 3, 4, 5, 11, 12, 15, 16, 17, 20, 23):
        torch.save(train(recipe, steps=step).state_dict(), tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        again = train(recipe, steps=24, state=state)
        assert convert.export(again.model, pictures(1)) == wanted, step


def test_a_loop_of_ones_own_is_stopped_before_bad_gradients_reach_the_weights() -> None:
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    session = wrap(net, optimizer, WHOLE, STEPS)
    net.train()(pictures(8)).square().mean().backward()
    before = {name: one.detach().clone() for name, one in net.named_parameters()}
    net.wide.weight.grad[0, 0] = torch.nan
    with pytest.raises(DivergedError, match=r"gradients are no number at step 0 \(epoch 0.00, learning rate"):
        optimizer.step()
    assert all(torch.equal(one, before[name]) for name, one in net.named_parameters())
    assert session.steps == 0
    assert session.state_dict()["steps"] == 0


def test_weights_that_are_no_numbers_are_neither_saved_nor_exported() -> None:
    session = train(WHOLE, steps=24)
    with torch.no_grad():
        session.model.wide.weight[0, 0] = torch.inf
    for wanted in (session.state_dict, lambda: session.content(pictures(1))):
        with pytest.raises(DivergedError, match="weights are no number at step 24"):
            wanted()


def test_sums_that_overflow_are_no_divergence() -> None:
    assert are_finite([torch.full((4,), 3e38)])
    assert not are_finite([torch.ones(2), torch.tensor([1.0, torch.inf])])
    assert not are_finite([torch.tensor([-torch.inf, torch.inf])])


def test_a_checkpoint_of_another_recipe_is_refused() -> None:
    state = train(WHOLE, steps=1).state_dict()
    with pytest.raises(UsageError, match="another recipe"):
        train(WHOLE[:2], steps=1, state=state)


def test_a_schedule_reads_the_same_from_text_data_and_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"version": 1, "stages": WHOLE}))
    forms = [load_schedule(form).model_dump() for form in (path, WHOLE, path.read_text() + "\n")]
    assert forms[0] == forms[1] == forms[2]
    assert load_schedule(path).epochs == 6


def test_an_onnx_file_teaches_logits_and_features(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'edgekit[train]'")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'edgekit[train]'")
    from edgekit.optimize.training.teachers import load_teacher

    helper, kinds = onnx.helper, onnx.TensorProto
    weight = np.random.default_rng(0).normal(size=(192, 3)).astype(np.float32) / 20
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    ends = [("x", ["n", 3, 8, 8]), ("scores", ["n", 3])]
    inputs, outputs = ([helper.make_tensor_value_info(name, kinds.FLOAT, shape)] for name, shape in ends)
    graph = helper.make_graph(nodes, "teacher", inputs, outputs, [onnx.numpy_helper.from_array(weight, "w")])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(content, tmp_path / "teacher.onnx")
    (logits,), features = load_teacher(tmp_path / "teacher.onnx", ["flat"])((pictures(4),))
    wanted = pictures(4).flatten(1).numpy() @ weight
    np.testing.assert_allclose(logits.softmax(1), torch.from_numpy(wanted).softmax(1), atol=1e-5)
    np.testing.assert_array_equal(features["flat"], pictures(4).flatten(1))
    recipe = [{"distill": {"end": 1, "teacher": str(tmp_path / "teacher.onnx"), "weight": 1.0}}]
    assert train(recipe, steps=4).steps == 4
    (tmp_path / "bad.onnx").write_bytes(b"no onnx")
    with pytest.raises(ModelError, match="not a readable ONNX file"):
        load_teacher(tmp_path / "bad.onnx", [])
