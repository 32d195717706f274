"""Counts outlive a restart, and never stop a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.pipeline.tally import Tally

TOTALS = {"in": 3, "out": 1, "since": "2026-11-22T10:03:11.482Z"}


def kept(path: Path) -> Tally:
    first = Tally(path)
    first.note("front", "gate", TOTALS)
    first.save(now=True)
    return Tally(path)


def test_counts_are_there_after_a_restart(tmp_path: Path) -> None:
    again = kept(tmp_path / "new" / "counts.json")
    assert again.line("front", "gate") == TOTALS
    assert again.line("front", "door") is None
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["counts.json"]


def test_without_a_path_nothing_is_written() -> None:
    memory = Tally()
    memory.note("front", "gate", TOTALS)
    memory.save(now=True)
    assert memory.line("front", "gate") == TOTALS


def test_a_card_is_not_worn_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 109.0, 110.5])
    monkeypatch.setattr("edgekit.pipeline.tally.time.monotonic", lambda: next(clock))
    path, written = tmp_path / "counts.json", []
    counts = Tally(path)
    for crossed in range(1, 5):
        counts.note("front", "gate", TOTALS | {"in": crossed})
        counts.save()
        written.append(json.loads(path.read_text())["lines"]["front"]["gate"]["in"])
    assert written == [1, 1, 1, 4]


def test_a_file_cut_short_at_any_byte_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    whole = kept(path)._path
    assert whole
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert Tally(path).line("front", "gate") is None


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"lines": 1}', '{"lines": {"front": {"gate": {"in": "x"}}}}', "\0"]
)
def test_a_file_of_something_else_is_passed_over(text: str, tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    path.write_text(text)
    assert Tally(path).line("front", "gate") is None


def test_a_disk_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    counts = Tally(tmp_path / "file" / "counts.json")
    for crossed in range(3):
        counts.note("front", "gate", TOTALS | {"in": crossed})
        counts.save(now=True)
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1
    assert counts.line("front", "gate") == TOTALS | {"in": 2}
