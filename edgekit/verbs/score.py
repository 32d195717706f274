"""`edgekit evaluate`: how often a model is right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.verbs import add_command, at_least_one


def add_evaluate(commands: Any) -> None:
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Score a detector by COCO's metric (extra: evaluate), or a classifier.",
    )
    parser.add_argument("model", metavar="MODEL", help="zoo name or path of a .tflite")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="classifier: .npz of pictures, or a folder with one per class",
    )
    parser.add_argument("--coco", type=Path, metavar="ANNOTATIONS.json")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the photos that --coco names")
    parser.add_argument(
        "--second-look",
        metavar="CLASSIFIER",
        help="detector: count false alarms and misses without and with it",
    )
    parser.add_argument(
        "--rule",
        help="classifier: what --coco's boxes say: person (is one in the photo?) or crops (of boxes)",
    )
    parser.add_argument(
        "--first-class",
        type=int,
        default=0,
        metavar="N",
        help="output of a model without class names that is class 0",
    )
    parser.add_argument("--engine", choices=("auto", "native", "tflite"), default="auto")
    parser.add_argument("--threads", type=at_least_one, default=1)


def _evaluate(arguments: argparse.Namespace) -> int:
    from edgekit import console, inference
    from edgekit.evaluate import evaluate

    coco = arguments.coco is not None and arguments.images is not None
    if coco == (arguments.data is not None) or (arguments.coco is None) != (arguments.images is None):
        raise UsageError("evaluate: give --coco with --images, or --data")
    model = inference.open(arguments.model, arguments.engine, arguments.threads)
    if model.task == "classify" or not coco:
        return _evaluate_classifier(model, arguments)
    if arguments.second_look:
        return _count_mistakes(model, arguments)
    result = evaluate(model, arguments.coco, arguments.images, console.progress(f"{model.name}"))
    if arguments.json:
        console.print_json(result.to_dict())
        return 0
    rows = [
        (name, f"{v['ap']:.3f}", f"{v['ap50']:.3f}", int(v["boxes"])) for name, v in result.labels.items()
    ]
    rows.append(("all", f"{result.ap:.3f}", f"{result.ap50:.3f}", sum(r[3] for r in rows)))
    title = f"{result.model} ({result.engine}), {result.images} images"
    console.print_table(title, ("label", "AP", "AP50", "boxes"), rows)
    return 0


def _count_mistakes(model: Any, arguments: argparse.Namespace) -> int:
    from edgekit import console, inference
    from edgekit.config.models import SecondLookConfig
    from edgekit.evaluate import labelled
    from edgekit.evaluate.mistakes import count_mistakes

    second = inference.open(arguments.second_look)
    config = SecondLookConfig(model=arguments.second_look)
    photos = labelled.read_photos(arguments.coco, arguments.images)
    both = count_mistakes(model, second, config, photos, progress=console.progress(f"{model.name}"))
    told = dict(zip(("alone", "second look"), both, strict=True))
    if arguments.json:
        console.print_json({k: {label: m.to_dict() for label, m in v.items()} for k, v in told.items()})
        return 0
    rows = [
        (label, how, each.things, each.missed, each.false_alarms, each.confused)
        for label in config.between
        for how, each in ((how, found[label]) for how, found in told.items())
    ]
    columns = ("label", "detector", "things", "missed", "false alarms", "of them on another")
    console.print_table(f"{model.name}, then {second.name}, {len(photos)} images", columns, rows)
    return 0


def _evaluate_classifier(model: Any, arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.evaluate import confusion, labelled

    if arguments.data is not None:
        pictures = labelled.read_labelled(arguments.data)
    else:
        rule = arguments.rule or confusion.rule_of(model.labels)
        if rule is None:
            raise UsageError(f"{model.name}: give --rule: {' or '.join(labelled.RULES)}")
        pictures = labelled.read_coco(arguments.coco, arguments.images, rule)
    result = confusion.score(model, pictures, arguments.first_class, console.progress(f"{model.name}"))
    if arguments.json:
        console.print_json(result.to_dict())
    else:
        console.print_accuracy(result)
    return 0
