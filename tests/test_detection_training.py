"""The training of detectors: teacher, student, targets, augmentation, and a whole run of a few steps."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgekit.errors import ConfigError, DivergedError, ModelError, SourceError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

from torch.nn import functional  # noqa: E402

from edgekit import model  # noqa: E402
from edgekit.optimize import Lines, find_recipe, optimize  # noqa: E402
from edgekit.optimize.detection import train  # noqa: E402
from edgekit.optimize.detection.album import NOTHING, make_album  # noqa: E402
from edgekit.optimize.detection.augment import Strength, Truth, boxes_of, draw, paint  # noqa: E402
from edgekit.optimize.detection.losses import detection_loss  # noqa: E402
from edgekit.optimize.detection.nets import teacher_network  # noqa: E402
from edgekit.optimize.detection.photos import Photo, load_photos  # noqa: E402
from edgekit.optimize.detection.recipe import load_recipe  # noqa: E402
from edgekit.optimize.detection.score import average_precision, suppress  # noqa: E402
from edgekit.optimize.detection.targets import DOUBT, FLOOR, make_grid, make_target  # noqa: E402
from edgekit.optimize.detection.teacher import load_teacher  # noqa: E402
from edgekit.optimize.detection.transplant import make_student  # noqa: E402

RECIPES = sorted(Path(train.__file__).parents[1].joinpath("recipes").glob("edgenano*.yaml"))


def pictures(count: int, seed: int = 1) -> Any:
    noise = np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8)).astype(np.float32)
    return functional.interpolate(torch.from_numpy(noise), scale_factor=8.0, mode="bilinear").round()


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


STAGES: list[dict[str, dict[str, Any]]] = [
    {"learning_rate": {"end": 2, "peak": 0.001}},
    {"prune": {"end": 1, "sparsity": 0.5, "pattern": "1x4", "every": 1}},
    {"quantize": {"start": 1, "end": 2, "input_range": [0, 255]}},
]


def write_recipe(path: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "version": 1, "task": "detect", "name": "detect/tiny-{size}/sparse50_int8", "seed": 3,
        "sizes_px": [64, 96], "batch": 4, "calibration_photos": 4, "watched_photos": 2,
        "devices": ["raspberry-pi-4"],
        "classes": [{"name": "person", "category_id": 1, "teacher_column": 0}], "stages": STAGES,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.fixture
def random_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_path: Path) -> Any:
        torch.manual_seed(5)
        return teacher_network().eval().requires_grad_(False)

    monkeypatch.setattr(train, "load_teacher", make)


class Stopped(Exception):  # noqa: N818  (it is no error)
    """Raised by a test in the middle of a training."""


def stop(line: str) -> None:
    if line.startswith("on 2 photos"):
        raise Stopped


STOP = Lines(stop)


@pytest.mark.usefixtures("random_teacher")
def test_training_is_the_same_for_the_same_seed_also_when_interrupted(tmp_path: Path) -> None:
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "teacher.onnx").write_bytes(b"stands for the teacher")
    whole = optimize(recipe, data, tmp_path / "teacher.onnx", tmp_path / "whole")
    with pytest.raises(Stopped):
        optimize(recipe, data, tmp_path / "teacher.onnx", tmp_path / "parts", watch=STOP)
    lines: list[str] = []
    parts = optimize(recipe, data, tmp_path / "teacher.onnx", tmp_path / "parts", watch=Lines(lines.append))
    assert not any("epoch 1/2" in line for line in lines)
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in parts]
    card = yaml.safe_load(parts[0].with_name("card.yaml").read_text())
    assert card["name"] == "detect/tiny-64/sparse50_int8"
    assert card["labels"] == ["person"]
    assert card["macs"] > 1e6
    assert card["agreement_with_training"]["within_4"] > 0.9
    for path, other in zip(whole, parts, strict=True):
        told, again = (json.loads(one.with_name("report.json").read_text()) for one in (path, other))
        assert [row["epoch"] for row in told["history"]] == [0, 1, 2]
        assert [row["quantized"] for row in told["history"]] == [False, True, True]
        assert {**told, "seconds": 0, "latency": 0} == {**again, "seconds": 0, "latency": 0}
        assert [one["device"] for one in told["latency"]] == ["this machine", "raspberry-pi-4"]
        assert set(told["before"]) == set(told["after"]) == {"map", "ap50"}
        assert path.with_name("report.html").stat().st_size > 2000
    for path, size in zip(whole, (64, 96), strict=True):
        graph = model.read(path)
        shapes = [(1, size // stride, size // stride, 16) for stride in (8, 16, 32)]
        assert [graph.tensors[i].shape for i in graph.outputs] == shapes
        weights = [np.asarray(t.data) for t in graph.tensors if t.data is not None and len(t.shape) == 4]
        largest = max(weights, key=np.size)
        assert 0.4 < (largest.reshape(-1, 4) == 0).all(axis=1).mean() < 1


@pytest.mark.usefixtures("random_teacher")
def test_a_training_that_diverges_says_so_and_keeps_the_checkpoint_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "teacher.onnx").write_bytes(b"stands for the teacher")
    arguments = recipe, data, tmp_path / "teacher.onnx", tmp_path / "out"
    with pytest.raises(Stopped):
        optimize(*arguments, watch=STOP)
    before = (tmp_path / "out" / "checkpoint.pt").read_bytes()

    def spoilt(*given: Any) -> Any:
        classes, apart = detection_loss(*given)
        return classes * torch.nan, apart

    monkeypatch.setattr(train, "detection_loss", spoilt)
    with pytest.raises(
        DivergedError, match=r"step 2 \(epoch 1.00, .*checkpoint.pt is from before and was kept"
    ):
        optimize(*arguments)
    assert (tmp_path / "out" / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("start", [1.5, 2])  # within an epoch, and where one ends
@pytest.mark.usefixtures("random_teacher")
def test_training_starts_from_the_float_weights_of_another(tmp_path: Path, start: float) -> None:
    data, teacher = write_data(tmp_path / "data"), tmp_path / "teacher.onnx"
    teacher.write_bytes(b"stands for the teacher")
    stages = [{"learning_rate": {"end": 3, "peak": 0.001}}, {"quantize": {"start": start, "end": 3}}]
    first = write_recipe(tmp_path / "first.yaml", sizes_px=[64], stages=stages)
    optimize(first, data, teacher, tmp_path / "first")
    rest = [{"learning_rate": {"end": 1, "peak": 1e-9}}, {"quantize": {"end": 1, "input_range": [0, 255]}}]
    recipe = write_recipe(tmp_path / "second.yaml", sizes_px=[64], start="../first/float.pt", stages=rest)
    with pytest.raises(SourceError, match=r"elsewhere/first/float\.pt: no such file: train the recipe"):
        optimize(recipe, data, teacher, tmp_path / "elsewhere" / "nowhere")
    path = optimize(recipe, data, teacher, tmp_path / "second")[0]
    started = torch.load(tmp_path / "first" / "float.pt", weights_only=True)["levels.0.output.weight"]
    rows = next(t for t in model.read(path).tensors if t.data is not None and t.shape == (16, 1, 1, 128))
    scales = np.asarray(rows.scale).reshape(16, 1)
    written = np.asarray(rows.data).reshape(16, 128) * scales
    assert np.all(np.abs(written - started.reshape(16, 128).numpy()) <= 0.51 * scales + 1e-6)


@pytest.mark.usefixtures("random_teacher")
def test_a_sparse_file_is_trained_on_and_keeps_its_zeros(tmp_path: Path) -> None:
    data, teacher = write_data(tmp_path / "data"), tmp_path / "teacher.onnx"
    teacher.write_bytes(b"stands for the teacher")
    first = optimize(write_recipe(tmp_path / "first.yaml", sizes_px=[64]), data, teacher, tmp_path / "first")[
        0
    ]
    stages = [
        {"transfer": {"end": 1}},
        {"learning_rate": {"end": 1, "peak": 0.001}},
        {"quantize": {"end": 1, "input_range": [0, 255]}},
    ]
    start = "../first/64/model.tflite"
    recipe = write_recipe(tmp_path / "second.yaml", sizes_px=[64], start=start, stages=stages)
    second = optimize(recipe, data, teacher, tmp_path / "second")[0]
    before, after = (
        {t.name: np.asarray(t.data) for t in model.read(path).tensors if t.name.endswith("_weights")}
        for path in (first, second)
    )
    assert before.keys() == after.keys()
    blocks = [(before[name].reshape(-1, 4), after[name].reshape(-1, 4)) for name in before]
    assert sum(int((one == 0).all(1).sum()) for one, _ in blocks) > 5e4
    assert all((other[(one == 0).all(1)] == 0).all() for one, other in blocks)
    assert any((one != other).any() for one, other in blocks)


@pytest.mark.parametrize("labels", ["none", "twin"])
@pytest.mark.usefixtures("random_teacher")
def test_a_sparse_file_learns_from_its_twin_without_boxes(tmp_path: Path, labels: str) -> None:
    data, teacher = write_data(tmp_path / "data"), tmp_path / "teacher.onnx"
    teacher.write_bytes(b"stands for the teacher")
    dense_stages = [one for one in STAGES if "prune" not in one]
    recipe = write_recipe(tmp_path / "dense.yaml", sizes_px=[64], stages=dense_stages)
    optimize(recipe, data, teacher, tmp_path / "dense")
    names = ["trunk.dark3", "trunk.up5", "levels.0", "levels.1", "levels.2"]
    stages = [
        {"learning_rate": {"end": 8, "peak": 0.002, "warmup": 0}},
        {"distill": {"end": 7, "loss": "none", "features": {name: name for name in names}}},
        {"prune": {"end": 1, "sparsity": 0.5, "pattern": "1x4", "skip": ["trunk.stem.*"]}},
        {"quantize": {"start": 7, "end": 8, "input_range": [0, 255]}},
    ]
    twin = "../dense/64/model.tflite"
    recipe = write_recipe(
        tmp_path / "sparse.yaml", sizes_px=[64], stages=stages, start=twin, twin=twin, labels=labels
    )
    with pytest.raises(SourceError, match=r"model\.tflite: no such file: .* whose file `start` names"):
        optimize(recipe, data, teacher, tmp_path / "far" / "away")
    lines: list[str] = []
    path = optimize(recipe, data, teacher, tmp_path / "sparse", watch=Lines(lines.append))[0]
    told = [line.split() for line in lines if line.startswith("epoch")]
    losses = [[float(value) for value in words[3:6]] for words in told]
    assert all((classes == boxes == 0) == (labels == "none") for classes, boxes, _ in losses)
    assert 0 < losses[6][2] < losses[1][2], "it grows like its twin again"
    largest = max((np.asarray(t.data) for t in model.read(path).tensors if t.data is not None), key=np.size)
    assert (largest.reshape(-1, 4) == 0).all(axis=1).mean() > 0.4


@pytest.mark.usefixtures("random_teacher")
def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    (tmp_path / "teacher.onnx").write_bytes(b"stands for the teacher")
    with pytest.raises(Stopped):
        optimize(write_recipe(tmp_path / "recipe.yaml"), data, tmp_path / "teacher.onnx", out, watch=STOP)
    other = write_recipe(tmp_path / "recipe.yaml", seed=4)
    with pytest.raises(ConfigError, match="another recipe"):
        optimize(other, data, tmp_path / "teacher.onnx", out)


def test_student_starts_as_what_the_teacher_computes() -> None:
    torch.manual_seed(0)
    teacher = teacher_network().eval().requires_grad_(requires_grad=False)
    images = pictures(4) * 20 - 1000  # random weights make little of their inputs
    student = make_student(teacher, [images], (0, 2))
    with torch.no_grad():
        for wanted, own in zip(teacher(images), student(images), strict=True):
            logits = wanted[:, [5, 7]] + wanted[:, 4:5]
            assert torch.allclose(own[:, :4], wanted[:, :4] * 2, atol=1e-4)
            assert torch.allclose(own[:, 4:6], logits, atol=1e-4)
            assert not own[:, 6:].any()


def test_stem_is_split_by_the_range_of_its_channels() -> None:
    torch.manual_seed(0)
    teacher = teacher_network().eval().requires_grad_(requires_grad=False)
    teacher.trunk.stem.unit.conv.weight.mul_(torch.rand(16, 1, 1, 1) * 10)
    images = pictures(2)
    student = make_student(teacher, [images], (0,))
    with torch.no_grad():
        peaks = [group[0](images).amax((0, 2, 3)) for group in student.trunk.stem.groups]
    assert [len(one) for one in peaks] == [4, 4, 4, 4]
    assert all(less.max() <= more.min() for less, more in itertools.pairwise(peaks))


def test_teacher_computes_what_the_onnx_file_says(shared: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = shared / "data" / "models" / "yolox_nano_416.onnx"
    images = pictures(1).repeat_interleave(7, 2).repeat_interleave(7, 3)[..., :416, :416].contiguous()
    wanted = runtime.InferenceSession(str(path)).run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        maps = load_teacher(path)(images)
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
    assert load_recipe(path).name.split("/")[1].replace("-{size}", "") in path.stem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 1}, "sede: unknown key, did you mean 'seed'"),
        ({"stages": [{"prune": {"end": 2, "sparsity": 1}}]}, r"stages\[0\].prune.sparsity: .* below 1"),
        ({"stages": [{"learning_rate": {"end": 2, "peak": 1}}]}, "stages: no stage quantize"),
        ({"labels": "none"}, "labels: none without a stage distill: nothing would be learnt"),
        ({"labels": "twin"}, "labels: twin without a file that is the twin: name it under `twin`"),
        ({"sizes_px": [100]}, r"sizes_px\[0\]: expected a multiple of 32 from 64 to 1024, not 100"),
        ({"name": "tiny"}, "name: expected task/family-{size}/variant"),
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


CPU = torch.device("cpu")


def drawn(tmp_path: Path, strength: Strength, size_px: int = 96, count: int = 40) -> tuple[Any, Any]:
    data = write_data(tmp_path / "data")
    album = make_album(load_photos(data / "annotations_train.json", data / "images", (1,)), CPU)
    chosen = np.arange(count) % len(album)
    return album, draw(np.random.default_rng(0), album, chosen, size_px, strength)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_augmented_boxes_stay_on_what_they_mark(tmp_path: Path, mosaic: float) -> None:
    album, layout = drawn(tmp_path, Strength(mosaic=mosaic, colour=(0.0, 0.0)))
    images, truth = paint(layout, album), boxes_of(layout, album)
    checked = 0
    for row, image in enumerate(images):
        real = (truth.labels[row] != NOTHING) & ~truth.ignored[row]
        for x1, y1, x2, y2 in truth.boxes[row][real].round().int().tolist():
            checked += 1
            inner = image[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            assert inner.numel() == 0 or inner.mean() > 240  # the marked squares are white
            outer = image[:, max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3]
            assert outer.mean() < 252 or outer.shape == inner.shape  # and end where the boxes end
    assert checked > 30


def test_photo_alone_and_unchanged_is_the_letterbox(tmp_path: Path) -> None:
    album, layout = drawn(tmp_path, Strength(mosaic=0.0, colour=(0.0, 0.0)), 80, 8)
    layout.scales[:], layout.origins[:], layout.mirrored[:] = 1, 0, False
    assert np.array_equal(paint(layout, album).numpy(), album.images.numpy())
    layout.mirrored[:] = True
    assert np.array_equal(
        paint(layout, album).flip(3)[..., :60, :].numpy(), album.images[..., :60, :].numpy()
    )


def test_a_part_of_a_mosaic_stays_within_its_region(tmp_path: Path) -> None:
    album, layout = drawn(tmp_path, Strength(mosaic=1.0, colour=(0.0, 0.0)), 64, 6)
    before = paint(layout, album)
    layout.photos[:, 2] = (layout.photos[:, 2] + 1) % len(album)
    after = paint(layout, album)
    for row, (x1, y1, x2, y2) in enumerate(layout.regions[:, 2].astype(int)):
        changed = (before[row] != after[row]).any(0)
        assert changed[y1:y2, x1:x2].any()
        changed[y1:y2, x1:x2] = False
        assert not changed.any()


def test_colours_change_as_in_hsv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    album, layout = drawn(tmp_path, Strength(mosaic=0.0, colour=(0.0, 0.0)), 64, 4)
    plain = paint(layout, album)
    layout.colours[:] = [0.6, 0.8]
    made = paint(layout, album)
    for before, after in zip(plain, made, strict=True):
        hsv = cv2.cvtColor(before.permute(1, 2, 0).numpy() / 255, cv2.COLOR_BGR2HSV)
        wanted = cv2.cvtColor(hsv * np.array([1, 0.6, 0.8], np.float32), cv2.COLOR_HSV2BGR) * 255
        assert np.abs(after.permute(1, 2, 0).numpy() - wanted).max() <= 1  # both are rounded


def truth_of(*rows: tuple[list[float], int, bool]) -> Truth:
    boxes, labels, ignored = zip(*rows, strict=True)
    return Truth(torch.tensor([boxes]), torch.tensor([labels]), torch.tensor([ignored]))


def opinions(grid: Any, classes: int = 2) -> tuple[Any, Any]:
    """A teacher that sees next to nothing, anywhere."""
    boxes = torch.cat((grid.cells * grid.strides, (grid.cells + 1) * grid.strides), 1)
    return torch.full((1, len(boxes), classes), 0.001), boxes[None]


def test_targets_raise_what_is_marked_and_lower_what_is_not() -> None:
    grid = make_grid(64)
    scores, boxes = opinions(grid)
    scores[0, 40, 1] = 0.8  # the teacher sees a thing of class 1 that nobody marked
    made = make_target(scores, boxes, truth_of(([8.0, 8.0, 40.0, 40.0], 0, False)), grid)
    assert float(made.scores[0, :, 0].max()) >= FLOOR
    assert float(made.scores[0, 40, 1]) == pytest.approx(0.8 * DOUBT)
    assert float(made.weights[0, 40]) == 0
    best = int(made.scores[0, :, 0].argmax())
    assert made.boxes[0, best].tolist() == [8.0, 8.0, 40.0, 40.0]


def test_ignored_boxes_are_neither_asked_for_nor_held_against_the_teacher() -> None:
    grid = make_grid(64)
    scores, boxes = opinions(grid)
    scores[0, 9, 1] = 0.8
    made = make_target(scores, boxes, truth_of(([0.0, 0.0, 64.0, 64.0], 1, True)), grid)
    assert float(made.scores[0, 9, 1]) == pytest.approx(0.8)
    assert torch.equal(made.scores[..., 1], scores[..., 1])
    assert float(made.scores[..., 0].max()) <= 0.001


def test_pictures_of_a_batch_have_the_targets_they_have_alone() -> None:
    grid, rng = make_grid(64), torch.Generator().manual_seed(2)
    scores = torch.rand((3, len(grid.cells), 2), generator=rng)
    boxes = opinions(grid)[1] + torch.randn((3, len(grid.cells), 4), generator=rng)
    rows = [([4.0, 4.0, 60.0, 30.0], 1, False), ([30.0, 20.0, 50.0, 60.0], 0, False)]
    empty = ([0.0, 0.0, 0.0, 0.0], NOTHING, False)
    alone = [truth_of(*rows), truth_of(rows[0], empty), truth_of(empty, empty)]
    together = Truth(*(torch.cat([getattr(t, k) for t in alone]) for k in ("boxes", "labels", "ignored")))
    whole = make_target(scores, boxes, together, grid)
    for number, truth in enumerate((alone[0], truth_of(rows[0]), truth_of(empty))):
        part = make_target(scores[number : number + 1], boxes[number : number + 1], truth, grid)
        assert torch.equal(whole.scores[number], part.scores[0])
        assert torch.equal(whole.boxes[number], part.boxes[0])
        assert torch.equal(whole.weights[number], part.weights[0])
    assert not whole.weights[2].any()
    assert float(whole.scores[2].max()) <= DOUBT


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
