"""Kernels chosen by timing: what was found is kept, and no damage to the cache stops a load."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import nets
import numpy as np
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from picture_nets import picture_net
from strategies import network

from edgekit import engine, model, plan
from edgekit.model.tensors import random_inputs
from edgekit.plan import ranks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edgekit" / "ranks"


def tuned(graph: model.Graph, *, tune: bool = True) -> list[Any]:
    loaded = engine.load_graph(graph, "test", "native", tune=tune)
    return [array.tolist() for array in loaded.run(random_inputs(loaded.inputs))]


def test_what_was_found_is_kept_and_used(folder: Path) -> None:
    expected = tuned(network(), tune=False)
    assert not folder.exists()
    assert tuned(network()) == expected  # with an operator that has no steps: RESHAPE
    (kept,) = folder.iterdir()
    found = json.loads(kept.read_text())
    assert found["kind"] == ranks.KIND
    prepared = plan.prepare(network())
    kept.write_text(json.dumps({**found, "ranks": {"1": 3}}))
    assert ranks.load_ranks(prepared, found["level"], 1) == {1: 3}
    assert ranks.load_ranks(prepared, found["level"], 2) == {}
    assert tuned(network(), tune=False) == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"\xff\xfe", b"[" * 99999]
    + [
        b'{"kind": "edgekit.ranks/1", "ranks": %s}' % found
        for found in (
            b"[1]",
            b'{"0": 1e999}',
            b'{"0": NaN}',
            b'{"0": "x"}',
            b'{"x": 1}',
            b'{"0": null}',
            b"3",
        )
    ],
)
def test_a_damaged_cache_is_as_good_as_none(content: bytes, folder: Path) -> None:
    expected = tuned(network())
    (kept,) = folder.iterdir()
    kept.write_bytes(content)
    assert tuned(network(), tune=False) == expected
    assert tuned(network()) == expected
    assert json.loads(kept.read_text())["kind"] == ranks.KIND


def test_numbers_that_no_kernel_has_are_taken_for_the_last(folder: Path) -> None:
    expected = tuned(network())
    (kept,) = folder.iterdir()
    for wrong in ({"0": 99999, "1": 10**30}, {"1": -5, "2": -1}, {"-3": 2, "999": 1}):
        kept.write_text(json.dumps({"kind": ranks.KIND, "ranks": wrong}))
        assert tuned(network(), tune=False) == expected


def test_a_cache_that_cannot_be_written_stops_nothing(folder: Path) -> None:
    expected = tuned(network())
    (kept,) = folder.iterdir()
    kept.unlink()
    kept.mkdir()
    assert tuned(network()) == tuned(network(), tune=False) == expected
    assert list(folder.iterdir()) == [kept]  # and nothing is left behind
    kept.rmdir()
    folder.rmdir()
    folder.write_text("a file")
    assert tuned(network()) == tuned(network(), tune=False) == expected


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


MADE: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "socket": as_socket,
    "itself": lambda path: path.symlink_to(path),
    "nothing": lambda path: path.symlink_to("nowhere"),
    "huge": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40),
    "unreadable": lambda path: path.touch(0),
}


@pytest.mark.parametrize("kind", MADE)
def test_what_is_no_file_is_no_cache_and_is_not_waited_for(
    kind: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("c")  # the name of a socket is short
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    expected = tuned(network())
    (kept,) = (folder / "edgekit" / "ranks").iterdir()
    kept.unlink()
    MADE[kind](kept)
    assert tuned(network(), tune=False) == expected
    assert tuned(network()) == expected
    assert kind == "folder" or json.loads(kept.read_text())["kind"] == ranks.KIND


@pytest.mark.parametrize("kind", ["pipe", "socket", "itself", "nothing", "huge"])
def test_a_cache_in_what_is_no_folder_stops_nothing(
    kind: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("c") / "cache"
    MADE[kind](path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    assert tuned(network()) == tuned(network(), tune=False)


def test_who_has_no_home_or_may_not_look_there_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for error in (RuntimeError("no home"), PermissionError(13, "no")):

        def fails(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(Path, "home" if isinstance(error, RuntimeError) else "is_dir", fails)
        monkeypatch.setenv("HOME", "/proc/none")
        assert tuned(network()) == tuned(network(), tune=False)
        monkeypatch.undo()


@examples(40)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.data())
def test_kernels_of_any_rank_give_the_same_bytes(choices: Random, length: int, data: st.DataObject) -> None:
    graph = plan.prepare(picture_net(choices, length))
    assume(plan.refusal(graph) is None)
    chosen = data.draw(st.dictionaries(st.integers(0, 9), st.integers(0, ranks.TRIED)))
    inputs = nets.random_inputs(graph, 1)
    for exact in (False, True):
        first = engine.NativeEngine(graph, exact=exact).run(inputs)
        other = engine.NativeEngine(graph, exact=exact, ranks=chosen).run(inputs)
        for one, another in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, another)
