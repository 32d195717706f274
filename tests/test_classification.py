"""`edgekit optimize` of a classifier: recipes, data, runs that are interrupted, reports, transfer."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgekit.errors import ConfigError, DivergedError, EdgekitError, ModelError, SourceError, UsageError
from edgekit.evaluate.labelled import Photo
from edgekit.optimize import recipe_schema
from edgekit.optimize.classification.recipe import AugmentConfig
from edgekit.optimize.classification.views import crop_views, person_views

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

torch.set_num_threads(1)

from edgekit import inference, model  # noqa: E402
from edgekit.cli import main  # noqa: E402
from edgekit.device import load_device  # noqa: E402
from edgekit.optimize import Lines, auto, optimize  # noqa: E402
from edgekit.optimize.classification.images import (  # noqa: E402
    Pictures,
    batches,
    changed,
    draw,
    load,
    load_views,
)
from edgekit.optimize.classification.nets import NETWORKS  # noqa: E402
from edgekit.optimize.classification.task import Classification, class_weights  # noqa: E402
from edgekit.optimize.training import convert, quantization  # noqa: E402
from edgekit.optimize.training.accelerator import accelerator  # noqa: E402
from edgekit.optimize.training.imported import import_model  # noqa: E402
from edgekit.optimize.training.showing import choose_inputs  # noqa: E402
from edgekit.optimize.training.stages import load_schedule  # noqa: E402

SIZE, SHADES = 16, {"dark": 40, "grey": 128, "light": 215}
STAGES = [
    {"learning_rate": {"end": 4, "peak": 0.02}},
    {"prune": {"start": 1, "end": 2, "sparsity": 0.6, "pattern": "1x4", "every": 1}},
    {"distill": {"start": 1, "end": 3, "teacher": "self"}},
    {"quantize": {"start": 3, "end": 4}},
]


QUANTIZE = {"quantize": {"start": 1, "end": 2}}
NO_LAYER = {"end": 1, "sparsity": 0.5, "layers": ["blok*"]}


def shaded(count: int, seed: int) -> tuple[Any, Any]:
    """Pictures of three classes, told apart by how light they are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    means = np.array(list(SHADES.values()))[labels]
    images = rng.normal(means[:, None, None, None], 20, (count, SIZE, SIZE, 3)).clip(0, 255)
    return images.astype(np.uint8), labels


def write_npz(path: Path, count: int, seed: int) -> None:
    images, labels = shaded(count, seed)
    np.savez(path, x=images, y=labels, classes=np.array(list(SHADES)))


def write_folders(path: Path, names: list[str], each: int = 12) -> None:
    import cv2

    rng = np.random.default_rng(5)
    for name in names:
        (path / name).mkdir(parents=True)
        for number in range(each):
            image = rng.normal(SHADES.get(name, 90), 20, (20, 24, 3)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(path / name / f"{number}.png"), image)


def write_recipe(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "version": 1,
        "task": "classify",
        "name": "shades",
        "seed": 3,
        "batch": 8,
        "size": SIZE,
        "data": {"train": "train.npz", "val": "val.npz"},
        "network": {"name": "resnet", "options": {"widths": [8, 16]}},
        "stages": STAGES,
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_npz(tmp_path / "train.npz", 48, 1)
    write_npz(tmp_path / "val.npz", 30, 2)
    return tmp_path


def train(recipe: Path, out: Path, **options: Any) -> Path:
    return optimize(recipe, None, None, out, watch=Lines(lambda _text: None), **options)[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run; returns the model's path."""
    place = tmp_path_factory.mktemp("trained")
    write_npz(place / "train.npz", 48, 1)
    write_npz(place / "val.npz", 30, 2)
    return train(write_recipe(place), place / "out")


# ---- data ------------------------------------------------------------------------------------------


def test_pictures_come_from_folders_by_class(tmp_path: Path) -> None:
    write_folders(tmp_path, ["light", "dark"])
    pictures = load(tmp_path, SIZE)
    assert pictures.names == ("dark", "light")
    assert pictures.images.shape == (24, SIZE, SIZE, 3)
    means = [pictures.images[pictures.labels == label].mean() for label in (0, 1)]
    assert means[0] < 60
    assert means[1] > 180
    train_part, val_part = pictures.split(0.25, seed=1)
    assert (len(train_part), len(val_part)) == (18, 6)
    assert set(val_part.labels) == {0, 1}


def test_pictures_come_from_jpegs_in_a_file(tmp_path: Path) -> None:
    import cv2

    images, labels = shaded(5, 3)
    files = [cv2.imencode(".jpg", image[..., ::-1])[1].ravel() for image in images]
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "a.npz", jpeg=np.concatenate(files), offsets=offsets, labels=labels)
    found = load(tmp_path / "a.npz", SIZE)
    assert np.abs(found.images.astype(int) - images).mean() < 20
    assert (found.labels == labels).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "there is no such file or folder"),
        (lambda p: p.mkdir(), "0 folders: expected one folder of pictures for each class"),
        (lambda p: [(p / n).mkdir(parents=True) for n in "ab"], "no pictures"),
        (lambda p: [bad_picture(p / n) for n in "ab"], "0.jpg: not a readable picture"),
    ],
)
def test_unreadable_pictures_are_told(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(SourceError, match=said):
        load(tmp_path / "data", SIZE)


def bad_picture(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "0.jpg").write_bytes(b"\xff\xd8 no picture")
    return folder


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(SourceError, match="not a readable"):
        load(tmp_path / "a.npz", SIZE)
    np.savez(tmp_path / "b.npz", z=np.zeros(3))
    with pytest.raises(SourceError, match="expected the arrays jpeg, offsets and labels"):
        load(tmp_path / "b.npz", SIZE)


def test_more_pictures_bear_the_names_of_the_first(tmp_path: Path) -> None:
    write_folders(tmp_path / "first", ["dark", "light"], each=4)
    write_folders(tmp_path / "more", ["dim", "light", "odd"], each=6)
    first, more = load(tmp_path / "first", SIZE), load(tmp_path / "more", SIZE, each=3)
    both = first.and_of(more, {"light": "light", "dim": "dark"})
    assert both.names == ("dark", "light")
    assert both.labels.tolist() == [0] * 4 + [1] * 4 + [0] * 3 + [1] * 3
    assert both.images[-3:].mean() > 180
    data = {"train": "first", "more": {"train": "more", "classes": {"dimm": "dark"}}}
    with pytest.raises(ConfigError, match=r"more.classes.*no class 'dimm', did you mean 'dim'"):
        train(write_recipe(tmp_path, data=data, batch=2), tmp_path / "out")


def test_classes_weigh_alike_as_far_as_the_recipe_balances() -> None:
    pictures = Pictures(np.zeros((10, 8, 8, 3), np.uint8), np.array([0] * 8 + [1] * 2), ("many", "few"))
    for balance, ratio in ((0.0, 1.0), (0.5, 2.0), (1.0, 4.0)):
        weights = class_weights(pictures, balance).tolist()
        assert weights[1] / weights[0] == pytest.approx(ratio)
        assert weights[0] * 8 + weights[1] * 2 == pytest.approx(10)


def test_batches_are_the_same_wherever_one_begins(folder: Path) -> None:
    pictures = load(folder / "train.npz", SIZE).on(torch.device("cpu"))
    augment = AugmentConfig(zoom=0.3, light=0.2, hide=0.2)
    whole = list(batches(pictures, 8, augment, seed=1, epoch=2))
    later = list(batches(pictures, 8, augment, seed=1, epoch=2, first=4))
    assert len(whole) == 6
    for one, other in zip(whole[4:], later, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert not torch.equal(whole[0][0], next(batches(pictures, 8, augment, seed=2, epoch=2))[0])


def test_pictures_move_by_whole_pixels() -> None:
    image = np.arange(SIZE * SIZE * 3, dtype=np.uint8).reshape(1, SIZE, SIZE, 3)
    augment = AugmentConfig(flip=False, shift=0.25)
    drawn = draw(1, augment, np.random.default_rng(0))
    moved = changed(torch.from_numpy(image), augment, drawn)[0].permute(1, 2, 0).numpy()
    shifts = [
        (down, right)
        for down in range(-4, 5)
        for right in range(-4, 5)
        if np.array_equal(moved[4:12, 4:12], image[0][4 - down : 12 - down, 4 - right : 12 - right])
    ]
    assert shifts


def drawn_as(**values: float) -> Any:
    """One picture's draw: as it is, but for what is given."""
    plain = {"mirror": 1.0, "down": 0.0, "right": 0.0, "part": 1.0, "contrast": 1.0, "bright": 1.0}
    plain |= {"row": 0.5, "column": 0.5, **values}
    return torch.tensor([list(plain.values())])


def test_pictures_are_mirrored_enlarged_lit_and_hidden() -> None:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = torch.from_numpy(np.stack([rows * 10, columns * 10, rows * 0 + 100], -1)[None].astype(np.uint8))
    planes = image.permute(0, 3, 1, 2).float()
    mirrored = changed(image, AugmentConfig(), drawn_as(mirror=-1.0))
    assert torch.equal(mirrored, planes.flip(3))
    enlarged = changed(image, AugmentConfig(zoom=0.5), drawn_as(part=0.5))
    assert enlarged[0, 0, :, 3].tolist() == pytest.approx([10 * (3.75 + row / 2) for row in range(SIZE)])
    lit = changed(image, AugmentConfig(light=0.5), drawn_as(contrast=1.5, bright=1.1))
    assert lit[0, 2, 0, 0].item() == pytest.approx((100 - 128) * 1.5 + 128 * 1.1)
    hidden = changed(image, AugmentConfig(hide=0.25), drawn_as(row=0.5, column=0.125)) != planes
    assert hidden[0, 2].nonzero().tolist() == [[row, column] for row in range(6, 10) for column in range(4)]


def photo(*people: tuple[float, float, float, float]) -> Photo:
    boxes = tuple(("person", box, False) for box in people)
    return Photo(Path("a.png"), 100, 80, boxes)


def test_cut_outs_show_a_person_well_or_not_at_all() -> None:
    for seed in range(20):
        person = (30.0, 20.0, 20.0, 30.0)
        for view in person_views(photo(person), 4, np.random.default_rng(seed)):
            x1, y1, x2, y2 = view.box
            assert 0 <= x1 < x2 <= 100
            assert 0 <= y1 < y2 <= 80
            seen = max(min(50, x2) - max(30, x1), 0) * max(min(50, y2) - max(20, y1), 0)
            share = seen / ((x2 - x1) * (y2 - y1))
            assert view.label == (share > 0.005)
            assert not 0.002 < share <= 0.005


def test_a_photo_is_a_view_of_itself() -> None:
    small, large = (3.0, 3.0, 5.0, 8.0), (3.0, 3.0, 5.0, 8.1)  # 0.5 % of the photo, and a little more
    for person, label in ((small, 0), (large, 1)):
        (view,) = person_views(photo(person), 0, np.random.default_rng(0))
        assert (view.box, view.label) == ((0, 0, 100, 80), label)


def test_animals_are_shown_more_often() -> None:
    box = (10.0, 10.0, 40.0, 40.0)
    boxes = (
        ("person", box, False),
        ("dog", box, False),
        ("car", box, True),
        ("cup", (0.0, 0.0, 5.0, 50.0), False),
    )
    views = list(crop_views(Photo(Path("a.png"), 100, 80, boxes), 2, np.random.default_rng(0)))
    assert [view.label for view in views] == [0] * 3 + [1] * 21
    assert views[0].box == pytest.approx((6, 6, 54, 54))


def test_photos_are_cut_and_decoded(tmp_path: Path) -> None:
    import cv2

    image = np.zeros((80, 100, 3), np.uint8)
    image[:, 50:] = (10, 20, 200)  # BGR: the right half is red
    cv2.imwrite(str(tmp_path / "a.png"), image)
    one = replace(photo((50, 0, 50, 80)), path=tmp_path / "a.png")
    pictures = load_views([one], "crops", 0, 0, SIZE)
    assert pictures.names == ("person", "dog", "cat", "vehicle", "other")
    assert pictures.images.shape == (1, SIZE, SIZE, 3)
    assert pictures.images[0, 8, 12].tolist() == [200, 20, 10]
    assert pictures.images[0, 8, 0].tolist() == [0, 0, 0]


# ---- recipes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": {"name": "resnet9"}}, "there is no 'resnet9', did you mean 'resnet"),
        ({"network": {"name": "resnet8", "options": {"withs": 3}}}, "does not take these options"),
        ({"network": {"name": "resnet8", "python": "a:b"}}, "expected one of name, python and model"),
        ({"network": {"python": "nothing_here:make"}}, "cannot import nothing_here"),
        ({"network": {"python": "no function"}}, "expected module:function"),
        ({"classes": ["one", "two"]}, "classes: names 2, the data has 3: 3 .dark, grey, light"),
        ({"data": {"train": "train.npz", "views": 3}}, "give images with rule"),
        ({"data": {"train": "a.json", "images": ".", "rule": "person"}}, "missing val"),
        ({"data": {"train": "a.json", "val": "b.json", "images": ".", "rule": "person"}}, "not readable"),
        ({"sise": 3}, "unknown key, did you mean 'size'"),
        ({"stages": [{"prune": NO_LAYER}, QUANTIZE]}, r"recipe.yaml:\d+:\d+: .*layers.0.: .*no layer 'blok"),
        ({"stages": [{"distill": {"end": 1}}, QUANTIZE]}, "distill: missing teacher"),
        ({"teacher": "no.onnx", "stages": [{"distill": {"end": 1}}, QUANTIZE]}, "no file"),
        ({"batch": 100}, "48 pictures, fewer than one batch of 100"),
        ({"task": "clasify"}, "task: expected one of detect, classify, not 'clasify'"),
    ],
)  # fmt: skip
def test_mistakes_in_a_recipe_are_told(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, SourceError), match=said):
        train(write_recipe(folder, **changes), folder / "out")


def test_a_recipe_that_never_quantises_is_told_before_it_trains(folder: Path) -> None:
    with pytest.raises(ConfigError, match="needs a stage quantize"):
        train(write_recipe(folder, stages=STAGES[:2]), folder / "out")
    with pytest.raises(ConfigError, match="makes: a teacher stays float"):
        train(write_recipe(folder, makes="teacher"), folder / "out")


def test_the_schema_takes_a_recipe_and_refuses_a_wrong_one(folder: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    content = yaml.safe_load(write_recipe(folder).read_text())
    jsonschema.validate(content, recipe_schema())
    content["stages"][1]["prune"]["sparsity"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, recipe_schema())


# ---- runs ------------------------------------------------------------------------------------------


def test_a_run_leaves_a_model_a_card_and_a_report(trained: Path) -> None:
    report = json.loads(trained.with_name("report.json").read_text())
    assert report["after"]["accuracy"] > 0.8
    assert report["agreement"]["within_1"] >= 0.988
    assert [row["epoch"] for row in report["history"]] == [0, 1, 2, 3, 4]
    pruned = {row["name"]: row["zero_blocks_1x4"] for row in report["file"]["layers"]}
    weights = {row["name"]: row["weights"] for row in report["file"]["layers"]}
    inner = [name for name in pruned if "blocks" in name]
    share = sum(pruned[name] * weights[name] for name in inner) / sum(weights[name] for name in inner)
    assert share == pytest.approx(0.6, abs=0.03)
    page = trained.with_name("report.html").read_text()
    assert "shades" in page
    assert "<script" not in page
    assert "http" not in page
    network = inference.open(trained)
    dark = np.full((30, 30, 3), SHADES["dark"], np.uint8)
    assert network.classify(dark)[0][0] == "dark"


@pytest.mark.parametrize("steps", [1, 9, 18])
def test_an_interrupted_run_goes_on_to_the_same_bytes(folder: Path, trained: Path, steps: int) -> None:
    recipe, out = write_recipe(folder), folder / "out"

    class Stop(Lines):
        seen = 0

        def step(self, done: int, loss: float) -> None:
            self.seen += 1
            if self.seen == steps:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        optimize(recipe, None, None, out, watch=Stop(lambda _text: None))
    assert not (out / "model.tflite").exists()
    said: list[str] = []
    (again,) = optimize(recipe, None, None, out, watch=Lines(said.append))
    assert said[0] == f"going on from step {steps}"
    assert again.read_bytes() == trained.read_bytes()


def spoil_losses(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Make the losses behind so many steps infinite."""
    calls, real = itertools.count(), Classification.loss

    def loss(self: Any, outputs: Any, wanted: Any) -> Any:
        return real(self, outputs, wanted) * (torch.inf if next(calls) >= after else 1)

    monkeypatch.setattr(Classification, "loss", loss)


def test_a_training_that_diverges_says_so_and_keeps_the_checkpoint_from_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, 8)
    recipe, out = write_recipe(folder, checkpoint="1ms"), folder / "out"
    with pytest.raises(DivergedError) as caught:
        train(recipe, out)
    told = str(caught.value)
    assert "gradients are no number at step 8 (epoch 1.33, learning rate 0.0" in told
    assert told.endswith(f"give another --out; {out / 'checkpoint.pt'} is from before and was kept")
    kept = torch.load(out / "checkpoint.pt", weights_only=True)["session"]
    assert kept["steps"] == 8
    assert all(bool(one.isfinite().all()) for one in kept["model"].values() if torch.is_tensor(one))
    assert not (out / "model.tflite").exists()
    before = (out / "checkpoint.pt").read_bytes()
    with pytest.raises(DivergedError, match="step 8"):
        train(recipe, out)
    assert (out / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("nn.Sequential(nn.Conv2d(3, 8, 20), nn.Flatten())", "pictures of 16 x 16: Calculated padded"),
        ("nn.Sequential(nn.Flatten(), nn.Linear(768, 5))", "shape [1, 5] for a picture: expected [1, 3]"),
        ("nn.Conv2d(3, 3, 1)", "gives values of shape [1, 3, 16, 16] for a picture"),
        ("nn.GRU(16, 3)", "cannot take pictures of 16 x 16: GRU"),
    ],
)  # fmt: skip
def test_a_network_that_does_not_fit_the_pictures_is_told_before_training(
    folder: Path, made: str, said: str
) -> None:
    name = f"unfit_{abs(hash(made))}"
    (folder / f"{name}.py").write_text(f"from torch import nn\n\ndef make(classes):\n    return {made}\n")
    with pytest.raises(ConfigError) as caught:
        train(write_recipe(folder, network={"python": f"{name}:make"}), folder / "out")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{folder / 'recipe.yaml'}:")


def test_too_high_a_rate_is_told_in_one_line(folder: Path, capsys: Any) -> None:
    rates = [{"learning_rate": {"end": 4, "peak": 100.0, "shape": "constant", "warmup": 0}}, STAGES[-1]]
    (folder / "hot_net.py").write_text(
        "from torch import nn\n\ndef make(classes):\n"
        "    deep = [part for _ in range(6) for part in (nn.Linear(32, 32), nn.ReLU())]\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(768, 32), *deep, nn.Linear(32, classes))\n"
    )
    recipe = write_recipe(folder, stages=rates, network={"python": "hot_net:make"})
    assert main(["optimize", str(recipe), "--out", str(folder / "out")]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "training has diverged" in error
    assert "learning rate 100): lower the learning rate's peak, and give another --out" in error


def test_a_recipe_trains_the_teacher_of_another(folder: Path) -> None:
    rate = {"learning_rate": {"end": 4, "peak": 0.02}}
    network = {"name": "resnet", "options": {"widths": [16, 16]}, "enlarge": 2}
    teacher = train(write_recipe(folder, makes="teacher", network=network, stages=[rate]), folder / "teacher")
    assert teacher.name == "teacher.pt"
    stages = [rate, {"distill": {"end": 4, "weight": 1.0}}, {"quantize": {"start": 3, "end": 4}}]
    # no label is true, so that what is learnt comes from the teacher
    images, labels = shaded(48, 1)
    np.savez(folder / "train.npz", x=images, y=(labels + 1) % 3, classes=np.array(list(SHADES)))
    path = train(write_recipe(folder, teacher=str(teacher), stages=stages), folder / "out")
    report = json.loads(path.with_name("report.json").read_text())
    assert report["after"]["accuracy"] > 0.6


def test_a_stage_may_name_the_network_that_it_learns_from(folder: Path) -> None:
    rate = {"learning_rate": {"end": 1, "peak": 0.02}}
    for name in ("one", "two"):
        train(write_recipe(folder, makes="teacher", stages=[rate]), folder / name)
    teachers = [{"distill": {"end": 1, "teacher": f"{name}/teacher.pt"}} for name in ("one", "two")]
    path = train(write_recipe(folder, stages=[teachers[0], QUANTIZE]), folder / "out")
    assert path.name == "model.tflite"
    with pytest.raises(ConfigError, match=r"stages\[1\].distill.teacher: a recipe has one teacher.pt"):
        train(write_recipe(folder, stages=[*teachers, QUANTIZE]), folder / "other")


def test_a_teacher_that_is_none_or_knows_others_is_told(folder: Path) -> None:
    stages = [{"distill": {"end": 1}}, QUANTIZE]
    (folder / "bad.pt").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=r"teacher: .*bad.pt is no teacher.pt"):
        train(write_recipe(folder, teacher="bad.pt", stages=stages), folder / "out")


def test_cuda_without_a_gpu_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"accelerator cuda: .*, or give --accelerator cpu"):
        train(write_recipe(folder), folder / "out", accelerator="cuda")
    with pytest.raises(UsageError, match="expected one of auto, cpu, cuda, not 'gpu'"):
        train(write_recipe(folder), folder / "out", accelerator="gpu")
    assert accelerator("auto") == torch.device("cpu")


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_told(folder: Path, trained: Path) -> None:
    with pytest.raises(ConfigError, match="made by another recipe"):
        train(write_recipe(folder, seed=4), trained.parent)
    (folder / "out").mkdir()
    (folder / "out" / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        train(write_recipe(folder), folder / "out")


def test_a_network_of_ones_own_is_trained(folder: Path) -> None:
    (folder / "my_nets_of_this_test.py").write_text(
        "from torch import nn\n"
        "def make(classes, width=8):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), nn.Linear(width, classes))\n"
    )
    network = {"python": "my_nets_of_this_test:make", "options": {"width": 4}}
    stages = [{"quantize": {"end": 1}}]
    path = train(write_recipe(folder, network=network, stages=stages), folder / "out")
    kinds = [op.kind for op in model.read(path).ops]
    assert kinds == ["CONV_2D", "MEAN", "RESHAPE", "FULLY_CONNECTED"]


def test_the_command_tells_one_line_and_its_code(folder: Path, capsys: Any) -> None:
    recipe = write_recipe(folder, seed=-1)
    assert main(["optimize", str(recipe), "--out", str(folder / "out")]) == 78
    assert f"{recipe}:4:7: seed: expected a whole number" in capsys.readouterr().err


# ---- transfer --------------------------------------------------------------------------------------


def test_an_imported_model_computes_what_the_file_does(trained: Path) -> None:
    network = import_model(trained, spread=64.0).eval()
    images, _ = shaded(20, 9)
    graph = model.read(trained)
    out = graph.tensors[graph.outputs[0]]
    assert out.scale is not None
    assert out.zero_point is not None
    from edgekit import engine

    runner = engine.load(trained)
    stored = (images.astype(np.int16) - 128).astype(np.int8)
    found = np.concatenate([runner.run(one[None])[0] for one in stored])
    with torch.no_grad():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 64
        real = network(x).numpy()
    assert np.abs(real - (found - out.zero_point[0]) * out.scale[0]).mean() < 0.1 * real.std()
    assert (real.argmax(1) == found.argmax(1)).mean() >= 0.9


def test_channels_that_never_change_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
    with torch.no_grad():
        first.weight[2:5] = 0
    head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    network = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), head).eval()
    inputs = torch.randn(8, 3, SIZE, SIZE)
    quantization.quantize(network, 0.9, (-2.0, 2.0))
    network.train()(inputs)
    (tmp_path / "a.tflite").write_bytes(convert.export(network.eval(), inputs[:1], name="a"))
    whole, compact = (import_model(tmp_path / "a.tflite", compact=one).eval() for one in (False, True))
    widths = [layer.weight.shape[0] for layer in compact.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [5, 4]
    with torch.no_grad():
        assert torch.allclose(whole(inputs), compact(inputs), atol=0.02)


def test_a_sparse_model_adapts_to_ones_own_classes(trained: Path, tmp_path: Path) -> None:
    write_folders(tmp_path / "mine", ["dark", "other"], each=20)
    stages = [
        {"learning_rate": {"end": 12, "peak": 0.05}},
        {"transfer": {"end": 10}},
        {"quantize": {"start": 10, "end": 12}},
    ]
    network = {"model": str(trained), "head": "new"}
    recipe = write_recipe(tmp_path, data={"train": "mine"}, network=network, stages=stages, batch=4)
    path = train(recipe, tmp_path / "out")
    before, after = model.read(trained), model.read(path)
    zero_before, zero_after = zeros_of(before), zeros_of(after)
    kept = [name for name in zero_before if zero_before[name].any()]
    assert len(kept) >= 3
    for old, new in zip(list(zero_before.values())[:-1], list(zero_after.values())[:-1], strict=True):
        assert new[old].all()
    assert after.tensors[after.outputs[0]].shape == (1, 2)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["after"]["accuracy"] >= 0.75


def zeros_of(graph: Any) -> dict[str, Any]:
    """Where the weights of each layer are zero, in the order of the file."""
    weights = [graph.tensors[op.inputs[1]] for op in graph.ops if "CONV" in op.kind or "FULLY" in op.kind]
    return {tensor.name: tensor.data == 0 for tensor in weights}


def test_a_transfer_to_other_classes_is_told_clearly(trained: Path, tmp_path: Path) -> None:
    write_folders(tmp_path / "mine", ["dark", "other"])
    recipe = write_recipe(
        tmp_path, data={"train": "mine"}, network={"model": str(trained)}, stages=STAGES, batch=4
    )
    said = r"model.tflite tells 3 classes apart, the data has 2 \(dark, other\): give network: \{head: new\}"
    with pytest.raises(ConfigError, match=said):
        train(recipe, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"takes \[16, 16, 3\], the recipe says 32"):
        train(
            write_recipe(tmp_path, data={"train": "mine"}, network={"model": str(trained)}, size=32, batch=4),
            tmp_path,
        )


def test_a_float_model_is_not_transferred(tmp_path: Path) -> None:
    tensors = [model.Tensor(name, (1, 4, 4, 3), np.dtype(np.float32)) for name in "ab"]
    graph = model.Graph(tuple(tensors), (model.Op("RELU", (0,), (1,)),), (0,), (1,))
    (tmp_path / "float.tflite").write_bytes(model.write(graph))
    with pytest.raises(ModelError, match="expected an int8 model"):
        import_model(tmp_path / "float.tflite")


def test_an_imported_model_is_quantised_and_exported_again(trained: Path) -> None:
    network = import_model(trained, spread=64.0).eval()
    images, _ = shaded(20, 9)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 64
    quantization.quantize(network, input_range=(-2.0, 127 / 64))
    quantization.calibrate(network, [x])
    again = model.read_bytes(convert.export(network, x[:1]))
    assert [op.kind for op in again.ops] == [op.kind for op in model.read(trained).ops]


# ---- after training, and before --------------------------------------------------------------------


def test_a_file_is_pruned_at_once_without_a_step_of_training(trained: Path, tmp_path: Path) -> None:
    write_npz(tmp_path / "train.npz", 48, 1)
    write_npz(tmp_path / "val.npz", 30, 2)
    stages = [{"quantize": {"end": 0}}, {"one_shot": {"sparsity": 0.5, "inputs": 32, "even": 0.5}}]
    recipe = write_recipe(
        tmp_path, network={"model": str(trained)}, stages=stages, devices=["raspberry-pi-4"]
    )
    path = train(recipe, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["file"]["zeros"] >= 0.5
    assert report["agreement"] is None
    assert [row["epoch"] for row in report["history"]] == [0]
    assert [one["device"] for one in report["latency"]] == ["this machine", "raspberry-pi-4"]
    assert "Latency" in path.with_name("report.html").read_text()


def test_rare_classes_are_shown_as_often_as_others() -> None:
    kinds = torch.tensor([0] * 12 + [1] * 5 + [2] * 3)[
        torch.randperm(20, generator=torch.Generator().manual_seed(3))
    ]
    batches = [(kinds[i : i + 5, None].float(), kinds[i : i + 5]) for i in range(0, 20, 5)]
    assert choose_inputs(batches, 7).flatten().tolist() == kinds[:7].tolist()
    evenly = choose_inputs(batches, 9, 1.0).flatten().tolist()
    assert [evenly.count(kind) for kind in (0, 1, 2)] == [3, 3, 3]
    most = choose_inputs(batches, 11, 1.0).flatten().tolist()
    assert [most.count(kind) for kind in (0, 1, 2)] == [4, 4, 3], "there are no more"
    half = choose_inputs(batches, 8, 0.5).flatten().tolist()
    assert half[:4] == kinds[:4].tolist()
    assert len(half) == 8
    boxes = [(inputs, ["no class"] * 5) for inputs, _ in batches]
    assert len(choose_inputs(boxes, 20)) == 20


def test_what_cannot_be_written_is_told_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    with pytest.raises(EdgekitError, match="file: is a file; give the name of a folder"):
        train(write_recipe(folder), folder / "file")
    with pytest.raises(EdgekitError, match=r"below: cannot be made: Not a directory"):
        train(write_recipe(folder), folder / "file" / "below")

    def full(*_arguments: Any, **_more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgekit.files.tempfile.mkstemp", full)
    with pytest.raises(EdgekitError, match=r"checkpoint.pt: cannot be written: No space left"):
        train(write_recipe(folder), folder / "out")
    assert not list((folder / "out").iterdir())


def test_an_unknown_device_is_told_before_training(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe.yaml:\d+:\d+: devices\[0\]: .*raspberry-pi-9"):
        train(write_recipe(folder, devices=["raspberry-pi-9"]), folder / "out")


def test_a_recipe_is_written_for_a_budget(trained: Path, tmp_path: Path, capsys: Any) -> None:
    dense = auto.model_ms(model.read(trained), load_device("raspberry-pi-4"))
    least = auto.model_ms(model.read(trained), load_device("raspberry-pi-4"), 0.95)
    command = [
        "optimize",
        "--auto",
        str(trained),
        "--device",
        "raspberry-pi-4",
        "--out",
        str(tmp_path / "r.yaml"),
    ]
    budget = (dense + least) / 2
    assert main([*command, "--max-latency-ms", f"{budget}"]) == 0
    schedule = load_schedule(yaml.safe_load((tmp_path / "r.yaml").read_text())["stages"])
    prune = schedule.stages[0].prune
    assert prune is not None
    found = auto.estimate(trained, "raspberry-pi-4", budget)
    assert prune.sparsity == found.sparsity > 0
    assert found.sparse_ms <= budget
    earlier = auto.model_ms(model.read(trained), load_device("raspberry-pi-4"), found.sparsity - 0.05)
    assert earlier > budget
    assert main([*command, "--max-latency-ms", f"{least / 2}"]) == 3
    assert main([*command, "--max-latency-ms", "nan"]) == 2
    assert "take a smaller network" in capsys.readouterr().err
    write_folders(tmp_path / "data", list(SHADES), each=30)
    train(tmp_path / "r.yaml", tmp_path / "out")


def test_depthwise_layers_count_but_are_not_pruned() -> None:
    torch.manual_seed(0)
    network = NETWORKS["mobilenet"](classes=3)
    quantization.quantize(network.eval())
    quantization.calibrate(network, [torch.randn(2, 3, 32, 32)])
    graph = model.read_bytes(convert.export(network, torch.zeros(1, 3, 32, 32)))
    device = load_device("raspberry-pi-4")
    dense, sparse = auto.model_ms(graph, device), auto.model_ms(graph, device, 0.9)
    assert 0 < sparse < dense
