"""Training, quantisation and export: small networks, synthetic pictures, a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgekit.errors import ConfigError, ModelError, SourceError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from edgekit import engine, model  # noqa: E402
from edgekit.optimize import Lines, optimize, train  # noqa: E402
from edgekit.optimize.augment import Strength, sample  # noqa: E402
from edgekit.optimize.equalise import activation_peaks, equalise  # noqa: E402
from edgekit.optimize.export import build  # noqa: E402
from edgekit.optimize.nets import (  # noqa: E402
    STUDENT,
    TEACHER,
    Csp,
    Detector,
    PlainStem,
    Pyramid,
    Separable,
    StudentLevel,
    Unit,
    blend,
)
from edgekit.optimize.photos import Photo, load_photos  # noqa: E402
from edgekit.optimize.quantize import OUTPUT_SCALE, quantized  # noqa: E402
from edgekit.optimize.recipe import find_recipe, load_recipe  # noqa: E402
from edgekit.optimize.score import average_precision, suppress  # noqa: E402
from edgekit.optimize.targets import DOUBT, FLOOR, make_grid, make_target  # noqa: E402
from edgekit.optimize.teacher import load_teacher  # noqa: E402
from edgekit.optimize.tracing import Maps  # noqa: E402
from edgekit.optimize.transplant import make_student  # noqa: E402

FLOAT = {"kind": "float", "epochs": 1, "learning_rate": 1}
RECIPES = sorted((Path(train.__file__).parent / "recipes").glob("*.yaml"))


class Tiny(nn.Module):
    """Every operation that a student has, on 64 x 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = PlainStem(STUDENT)
        self.down = Separable((16, 16), STUDENT, 2)
        self.csp = Csp((16, 16), STUDENT, shortcut=True)
        self.pyramid = Pyramid(16, STUDENT)
        self.level = StudentLevel(32, STUDENT)

    def forward(self, x: Any) -> Any:
        wide = self.stem(x)
        deep = self.pyramid(self.csp(self.down(wide)))
        joined = torch.cat((functional.interpolate(deep, scale_factor=2.0), wide), 1)
        return (self.level(joined),), ()


def make_tiny(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    tiny = Tiny()
    for unit in tiny.modules():
        if isinstance(unit, Unit):
            nn.init.uniform_(unit.norm.weight, 0.5, 1.5)
            nn.init.uniform_(unit.norm.bias, -0.5, 1.0)
    with torch.no_grad():
        for norm in (module for module in tiny.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = None
        tiny.train()(pictures(4))
    return tiny.eval()


def pictures(count: int, seed: int = 1) -> Any:
    noise = np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8)).astype(np.float32)
    return functional.interpolate(torch.from_numpy(noise), scale_factor=8.0, mode="bilinear").round()


def run_litert(data: bytes, images: Any) -> list[Any]:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    resolver = interpreter.OpResolverType.BUILTIN_REF
    runner = interpreter.Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    runner.allocate_tensors()
    results = []
    for image in images:
        stored = (image.permute(1, 2, 0).numpy() - 128).astype(np.int8)
        runner.set_tensor(runner.get_input_details()[0]["index"], stored[None])
        runner.invoke()
        results.append(runner.get_tensor(runner.get_output_details()[0]["index"])[0])
    return results


def test_exported_network_computes_what_training_computed() -> None:
    tiny = make_tiny()
    network = quantized(tiny)
    equalise(network, activation_peaks(tiny, [pictures(4)]))
    graph = build(Maps(network).eval(), (3, 64, 64), "tiny", ("out",))
    images = pictures(4, seed=7)
    with torch.no_grad():
        wanted = network(images)[0][0].permute(0, 2, 3, 1).numpy() / OUTPUT_SCALE
    apart = np.abs(np.stack(run_litert(model.write(graph), images)) - np.rint(wanted))
    assert wanted.std() > 3  # a constant output would prove nothing
    assert (apart <= 1).mean() >= 0.98


def test_export_needs_no_operator_but_the_plain_ones() -> None:
    graph = build(Maps(quantized(make_tiny())).eval(), (3, 64, 64), "tiny", ("out",))
    kinds = [op.kind for op in graph.ops]
    assert set(kinds) == {
        "ADD", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "PAD",
        "RESIZE_NEAREST_NEIGHBOR",
    }  # fmt: skip
    assert kinds.count("PAD") == 1  # the stem pads by SAME, the depthwise step by an operator
    assert graph.tensors[graph.outputs[0]].name == "out"
    assert {str(graph.tensors[i].dtype) for op in graph.ops for i in op.outputs} == {"int8"}


def test_export_names_an_operation_that_it_does_not_know() -> None:
    with pytest.raises(ModelError, match="does not know"):
        build(nn.Sequential(nn.Hardswish()), (3, 8, 8), "odd", ("out",))


def test_equalising_spares_faint_channels_from_rounding() -> None:
    tiny = make_tiny()
    with torch.no_grad():  # one channel is a hundred times fainter, its reader a hundred times keener
        tiny.down.deep.norm.weight[3] /= 100
        tiny.down.deep.norm.bias[3] /= 100
        tiny.down.point.conv.weight[:, 3] *= 100
    images = pictures(4, seed=3)
    plain, even = quantized(tiny), quantized(tiny)
    equalise(even, activation_peaks(tiny, [images]))
    with torch.no_grad():
        wanted = tiny(images)[0][0]
        errors = [float((one(images)[0][0] - wanted).abs().mean()) for one in (plain, even)]
    assert errors[1] < errors[0] * 0.7


def test_dead_channels_are_cut_off_from_their_readers(tmp_path: Path) -> None:
    tiny = make_tiny()
    with torch.no_grad():  # a stem channel that is always 0, and a reader whose weights for it are huge
        tiny.stem.unit.norm.weight[3] = 0
        tiny.stem.unit.norm.bias[3] = -1
        tiny.down.deep.conv.weight[3] *= 1e5
    network = quantized(tiny)
    equalise(network, activation_peaks(tiny, [pictures(4)]))
    assert not network.down.deep.conv.weight[3].any()
    path = tmp_path / "model.tflite"
    path.write_bytes(model.write(build(Maps(network).eval(), (3, 64, 64), "tiny", ("out",))))
    images = pictures(4, seed=7)
    with torch.no_grad():
        wanted = np.rint(network(images)[0][0].permute(0, 2, 3, 1).numpy() / OUTPUT_SCALE)
    stored = (images.permute(0, 2, 3, 1).numpy() - 128).astype(np.int8)
    runner = engine.load(path)
    apart = np.abs(np.concatenate([runner.run(image[None])[0] for image in stored]) - wanted)
    assert (apart <= 1).mean() >= 0.98


def write_data(folder: Path, count: int = 8) -> Path:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    for number in range(count):
        image = rng.integers(0, 120, (60, 80, 3), dtype=np.uint8)
        x, y = (int(value) for value in rng.integers(0, 30, 2))
        image[y : y + 30, x : x + 30] = 255
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        content["images"].append({"id": number, "file_name": f"{number}.png"})
        row = {"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, 30, 30], "iscrowd": 0}
        content["annotations"].append(row)
    for part in ("train", "val"):
        (folder / f"annotations_{part}.json").write_text(json.dumps(content))
    return folder


def write_recipe(path: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "version": 1, "name": "tiny", "seed": 3, "size_px": 64, "batch": 4, "threads": 2,
        "calibration_photos": 4, "watched_photos": 2,
        "classes": [{"name": "person", "category_id": 1, "teacher_column": 0}],
        "stages": [
            {"kind": "float", "epochs": 2, "learning_rate": 0.001, "blend": 0.5, "warmup_steps": 1},
            {"kind": "int8", "epochs": 1, "learning_rate": 0.0001, "warmup_steps": 0},
        ],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.fixture
def random_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_path: Path) -> Any:
        torch.manual_seed(5)
        return Detector(TEACHER).eval().requires_grad_(False)

    monkeypatch.setattr(train, "load_teacher", make)


class Stopped(Exception):  # noqa: N818  (it is no error)
    """Raised by a test in the middle of a training."""


@pytest.mark.usefixtures("random_teacher")
def test_training_is_the_same_for_the_same_seed_also_when_interrupted(tmp_path: Path) -> None:
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "teacher.onnx").write_bytes(b"stands for the teacher")
    whole = optimize(recipe, data, tmp_path / "teacher.onnx", tmp_path / "whole")

    def stop(line: str) -> None:
        if "float epoch 2/2" in line:
            raise Stopped

    with pytest.raises(Stopped):
        optimize(recipe, data, tmp_path / "teacher.onnx", tmp_path / "parts", watch=Lines(stop))
    lines: list[str] = []
    parts = optimize(recipe, data, tmp_path / "teacher.onnx", tmp_path / "parts", watch=Lines(lines.append))
    assert not any("float epoch 1/2" in line for line in lines)
    assert whole.read_bytes() == parts.read_bytes()
    card = yaml.safe_load(parts.with_name("card.yaml").read_text())
    assert card["labels"] == ["person"]
    assert card["macs"] > 1e6
    assert card["agreement_with_training"]["within_4"] > 0.9
    assert [model.read(whole).tensors[i].shape for i in model.read(whole).outputs] == [
        (1, 8, 8, 16), (1, 4, 4, 16), (1, 2, 2, 16),
    ]  # fmt: skip


@pytest.mark.usefixtures("random_teacher")
def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    (tmp_path / "teacher.onnx").write_bytes(b"stands for the teacher")
    stages = [{"kind": "int8", "epochs": 1, "learning_rate": 0.0001}]
    optimize(write_recipe(tmp_path / "recipe.yaml", stages=stages), data, tmp_path / "teacher.onnx", out)
    other = write_recipe(tmp_path / "recipe.yaml", stages=stages, seed=4)
    with pytest.raises(ConfigError, match="another recipe"):
        optimize(other, data, tmp_path / "teacher.onnx", out)


def test_student_with_the_teachers_activation_starts_near_the_teacher() -> None:
    torch.manual_seed(0)
    teacher = Detector(TEACHER).eval().requires_grad_(False)
    images = pictures(8)
    student = make_student(teacher, [images], (0, 2))
    with torch.no_grad():
        wanted = torch.cat([level[:, :4].flatten() * 2 for level in teacher(images)[0]])
        near = torch.cat([level[:, :4].flatten() for level in student(images)[0]])
        blend(student, 1.0)
        far = torch.cat([level[:, :4].flatten() for level in student(images)[0]])
    assert (near - wanted).abs().mean() < 0.5 * (far - wanted).abs().mean()


def test_teacher_computes_what_the_onnx_file_says(shared: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = shared / "data" / "models" / "yolox_nano_416.onnx"
    images = pictures(1).repeat_interleave(7, 2).repeat_interleave(7, 3)[..., :416, :416].contiguous()
    wanted = runtime.InferenceSession(str(path)).run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        maps = load_teacher(path)(images)[0]
    raw = torch.cat([level.flatten(2) for level in maps], 2).transpose(1, 2)
    raw[..., 4:] = raw[..., 4:].sigmoid()
    assert np.abs(raw.numpy() - wanted).max() < 2e-3


def test_teacher_that_is_no_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    path = tmp_path / "teacher.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"teacher\.onnx"):
        load_teacher(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_that_ship_are_valid_and_named_as_their_files(path: Path) -> None:
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1}, "learning_rat: unknown key"),
        (
            {"stages": [{"kind": "int8", "epochs": 1, "learning_rate": 1, "epoch": 2}]},
            "stages.0.epoch: unknown",
        ),
        ({"stages": [FLOAT]}, "last stage must be of kind int8"),
        ({"batch": 5}, "batch must be a multiple of threads"),
        ({"size_px": 100}, "size_px"),
        ({"stages": [FLOAT | {"blend": 0.5, "schedule_epochs": 9}]}, "before the activation is ReLU6"),
    ],
)
def test_recipe_mistakes_name_the_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(write_recipe(tmp_path / "recipe.yaml", **changes))
    assert "recipe.yaml" in str(caught.value)


def test_recipe_by_name_and_what_is_missing(tmp_path: Path) -> None:
    assert find_recipe(RECIPES[0].stem) == RECIPES[0]
    with pytest.raises(UsageError, match=RECIPES[0].stem):
        find_recipe("no-such-recipe")
    with pytest.raises(UsageError, match="--teacher"):
        optimize(RECIPES[0].stem, tmp_path, None, tmp_path)


def test_recipe_that_is_not_yaml_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("version: 1\nname: [\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml:\d+:\d+"):
        load_recipe(tmp_path / "recipe.yaml")


def test_photos_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"annotations\.json"):
        load_photos(tmp_path / "annotations.json", tmp_path, (1,))
    data = write_data(tmp_path / "data", 1)
    (data / "images" / "0.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"0\.png"):
        load_photos(data / "annotations_val.json", data / "images", (1,))


def test_augmented_boxes_stay_on_what_they_mark(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    photos = load_photos(data / "annotations_train.json", data / "images", (1,))
    calm = Strength(colour=(0.0, 0.0, 0.0))
    checked = 0
    for number in range(40):
        made = sample(np.random.default_rng(number), photos, number % 8, 96, calm)
        for x1, y1, x2, y2 in made.boxes[~made.ignored].round().astype(int):
            checked += 1
            inner = made.image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            assert inner.size == 0 or inner.mean() > 240  # the marked squares are white
    assert checked > 40


def test_targets_raise_what_is_marked_and_lower_what_is_not() -> None:
    grid = make_grid(64)
    count = len(grid.cells)
    scores = torch.full((count, 2), 0.001)
    scores[40, 1] = 0.8  # the teacher sees a thing of class 1 that nobody marked
    boxes = torch.cat((grid.cells * grid.strides, (grid.cells + 1) * grid.strides), 1)
    truth = torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([0]), torch.tensor([False])
    made = make_target(scores, boxes, truth, grid)
    assert float(made.scores[:, 0].max()) >= FLOOR
    assert float(made.scores[40, 1]) == pytest.approx(0.8 * DOUBT)
    assert float(made.weights[40]) == 0
    best = int(made.scores[:, 0].argmax())
    assert made.boxes[best].tolist() == [8.0, 8.0, 40.0, 40.0]


def test_perfect_predictions_score_one() -> None:
    box = np.array([[10, 10, 40, 50]], np.float32)
    photo = Photo(1, np.zeros((64, 64, 3), np.uint8), box, np.array([0]), np.array([False]))

    def predict(images: Any, grid: Any) -> tuple[Any, Any]:
        scores = torch.zeros(len(images), len(grid.cells), 1)
        scores[:, 5] = 0.9
        return scores, torch.from_numpy(box).expand(len(images), len(grid.cells), 4)

    figures = average_precision(predict, [photo], 64, ["person"])
    assert figures["ap50"] == pytest.approx(1.0)
    assert figures["map"] == pytest.approx(1.0)


def test_suppression_keeps_the_best_of_each_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.7]], np.float32)
    kept, values, labels = suppress(scores, boxes)
    assert values.tolist() == pytest.approx([0.9, 0.7])
    assert labels.tolist() == [0, 1]
    assert len(kept) == 2
