"""What commands print: tables, JSON, YAML and progress.

Results go to stdout, progress to stderr. Colours only on a terminal, and never with NO_COLOR.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.errors import printable


def as_json(value: object) -> str:
    """One JSON document, for people too, with a newline at its end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(as_json(value))


def print_message(topic: str, payload: bytes, *, as_json: bool) -> None:
    """One line for an MQTT message, at once: its topic and what it says; pictures by their size."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = f"<{len(payload)} bytes>"
    if not as_json:
        line = f"{topic} {text}"
    else:
        line = json.dumps({"topic": topic, "payload": _parsed(text)}, ensure_ascii=False)
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    if title:
        sys.stdout.write(f"{title}\n")
    _stdout().print(table)


def _stdout() -> Console:
    """Wide enough for a file or a pipe not to be wrapped at 80 columns."""
    return Console(width=None if sys.stdout.isatty() else 160)


def progress(title: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """A progress bar on stderr around an iterable, on a terminal; elsewhere the iterable itself."""
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return iter
    return lambda items: track(items, description=title, console=console, transient=True)


class _Bars:
    """A bar for the epochs of a training and one for the steps of the epoch; lines stand above them."""

    def __init__(self, bars: Any) -> None:
        self.bars = bars
        self.whole, self.part = bars.add_task("training", total=None), bars.add_task("epoch", total=None)

    def epoch(self, epoch: int, epochs: int, steps: int) -> None:
        self.bars.update(self.whole, completed=epoch, total=epochs)
        self.bars.reset(self.part, total=steps, description=f"epoch {epoch + 1}")

    def step(self, done: int, loss: float) -> None:
        self.bars.update(self.part, completed=done, description=f"loss {loss:.3f}")

    def say(self, text: str) -> None:
        self.bars.console.print(text, highlight=False, markup=False)


@contextmanager
def training_bars() -> Iterator[Any]:
    """Progress bars of a training on stderr, on a terminal; elsewhere None, and the log has its lines."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars)


def print_accuracy(result: Any) -> None:
    """What a classifier was found to do: each class, and for a few classes which is taken for which."""
    few = len(result.names) <= 20
    title = f"{result.model} ({result.engine}), {result.pictures} pictures"
    columns = ("class", "recall", "precision", "pictures", *(result.names if few else ()))
    rows = [
        (name, f"{v['recall']:.3f}", f"{v['precision']:.3f}", int(v["pictures"]),
         *(result.confusion[result.names.index(name)] if few else ()))
        for name, v in result.labels.items()
    ]  # fmt: skip
    print_table(title, columns, rows)
    lines = [f"accuracy {result.accuracy:.4f}, mean of the recalls {result.balanced:.4f}"]
    if (mixed := result.person_animal) is not None:
        lines.append(
            f"persons and animals taken for each other: {mixed['share']:.2%} "
            f"({mixed['persons_taken_for_animals']:.2%} of the persons, "
            f"{mixed['animals_taken_for_persons']:.2%} of the animals)"
        )
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def print_yaml(facts: object) -> None:
    """A mapping on stdout as people read it."""
    import yaml

    yaml.safe_dump(facts, sys.stdout, sort_keys=False, allow_unicode=True, width=110)
