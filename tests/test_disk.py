"""The outbox on disk: kill -9, power cuts, full, read-only and damaged disks, and how much is written."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boxes import Time, boot, left_alone, numbers, on_disk, put, taken
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from edgekit.mqtt.disk import Pace
from edgekit.mqtt.journal import Journal
from edgekit.mqtt.messages import Message
from edgekit.mqtt.outbox import Outbox
from edgekit.mqtt.reserve import STEP


def test_events_survive_a_kill_and_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "outbox"
    first = on_disk(path)
    put(first, 200)
    assert taken(first, 50) == numbers(1, 50, "r")
    left_alone(first)
    second = on_disk(path)
    assert len(second) == second.kept
    assert second.last_seq == 200
    put(second, 3)
    again = taken(second)
    assert again[-153:] == numbers(51, 203, "r")
    assert len(again) <= 153 + 50  # an acknowledgement may get lost, an event never
    left_alone(second)


def test_what_is_put_while_connected_is_fresh(tmp_path: Path) -> None:
    outbox = on_disk(tmp_path / "outbox")
    put(outbox, 100)
    outbox.begin()
    put(outbox, 100)
    assert taken(outbox, 150, done=False) == numbers(1, 100, "r") + numbers(101, 150)
    outbox.rewind()
    outbox.begin()
    assert taken(outbox) == numbers(1, 200, "r")
    outbox.close()


def test_after_a_clean_end_nothing_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    for start in range(0, 30, 10):
        outbox = on_disk(path)
        assert (outbox.last_seq, len(outbox)) == (start, 0)
        outbox.begin()
        put(outbox, 10)
        assert taken(outbox) == numbers(start + 1, start + 10)
        outbox.close()


def test_acknowledgements_reach_the_disk_without_a_further_event(tmp_path: Path) -> None:
    time = Time()
    outbox = on_disk(tmp_path / "outbox", boot(time))
    put(outbox, 5)
    taken(outbox)
    time.now_s += 5
    outbox.upkeep()
    left_alone(outbox)
    again = on_disk(tmp_path / "outbox")
    assert (again.last_seq, len(again)) == (5, 0)
    again.close()


def test_a_power_cut_gives_no_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    outbox = on_disk(path)
    put(outbox, 5)
    outbox.upkeep()
    left_alone(outbox)
    after = on_disk(path, boot(name="second"))
    put(after, 1)
    assert after.last_seq == STEP + 1
    assert taken(after) == [*numbers(1, 5, "r"), f"6-{STEP}", f"{STEP + 1}r"]
    after.close()
    clean = on_disk(path, boot(name="third"))
    put(clean, 1)
    assert taken(clean) == [f"{STEP + 2}r"]
    clean.close()


def test_numbers_are_reserved_before_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    outbox = on_disk(path)
    for _ in range(20):
        put(outbox, STEP // 4)
        outbox.flush()
    last = outbox.last_seq
    left_alone(outbox)
    path.unlink()
    after = on_disk(path)
    assert last < after.last_seq <= last + STEP
    after.close()


def test_a_full_outbox_drops_the_oldest_and_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    outbox = on_disk(path, max_mb=0.25)
    noise = random.Random(0)
    for number in range(1, 601):
        outbox.put(Message("events", noise.randbytes(1000), seq=number))
    assert outbox.dropped > 100
    assert outbox.dropped + len(outbox) == 600
    disk = outbox._disk
    assert disk is not None
    assert disk.used_bytes <= 0.25 * 2**20
    first = outbox.take()
    assert first is not None
    assert first.payload == f"1-{outbox.dropped}".encode()
    left_alone(outbox)
    again = on_disk(path, max_mb=0.25)
    assert again.take() is not None
    assert again.last_seq == 600
    again.close()


def test_age_goes_on_over_a_restart_but_not_over_a_reboot(tmp_path: Path) -> None:
    path, time = tmp_path / "outbox", Time()
    outbox = on_disk(path, boot(time))
    put(outbox, 1)
    left_alone(outbox)
    time.now_s += 3000
    same = on_disk(path, boot(time))
    put(same, 1)
    time.now_s += 1000
    same.upkeep()
    assert same.dropped == 1
    left_alone(same)
    other = Time()
    other.now_s = 5.0
    rebooted = on_disk(path, boot(other, "second"))
    other.now_s += 3000
    rebooted.upkeep()
    assert rebooted.dropped == 0
    other.now_s += 1000
    rebooted.upkeep()
    assert rebooted.dropped == 1
    rebooted.close()


def test_two_edgekits_do_not_share_an_outbox(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = on_disk(tmp_path / "outbox")
    second = on_disk(tmp_path / "outbox")
    assert second.health() == {
        "pending": 0, "dropped": 0, "bytes": 0, "durable": False, "trouble": "another edgekit uses it",
    }  # fmt: skip
    assert first.health()["durable"] is True
    put(second, 1)
    assert taken(second) == [f"{STEP + 1}r"]
    second.close()
    first.close()


class Broken:
    """Makes the SQLite of every outbox fail as a full or read-only disk would, while `why` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.why: str | None = None
        real = Journal._transaction

        def transaction(of: Journal) -> Any:
            if self.why:
                raise sqlite3.OperationalError(self.why)
            return real(of)

        monkeypatch.setattr(Journal, "_transaction", transaction)


def test_a_full_disk_means_memory_and_a_flag_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    time, broken = Time(), Broken(monkeypatch)
    outbox = on_disk(tmp_path / "outbox", boot(time))
    put(outbox, 100)
    broken.why = "database or disk is full"
    put(outbox, 50)
    assert outbox.health()["trouble"] == "database or disk is full"
    assert (len(outbox), outbox.kept, outbox.health()["durable"]) == (150, 100, False)
    assert taken(outbox, 120, done=False) == numbers(1, 120, "r")
    outbox.rewind()
    for _ in range(3):
        time.now_s += 100
        outbox.upkeep()
    assert sum("wait in memory" in line for line in caplog.messages) == 1
    broken.why = None
    time.now_s += 100
    outbox.upkeep()
    assert (len(outbox), outbox.kept, outbox.health()["trouble"]) == (150, 150, None)
    put(outbox, 10)
    left_alone(outbox)
    again = on_disk(tmp_path / "outbox")
    assert taken(again) == numbers(1, 160, "r")
    again.close()


def test_numbers_given_while_the_disk_was_full_are_not_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(monkeypatch)
    outbox = on_disk(tmp_path / "outbox")
    put(outbox, 5)
    broken.why = "database or disk is full"
    put(outbox, 5)
    outbox.begin()
    taken(outbox)
    outbox.flush()
    left_alone(outbox)
    broken.why = None
    again = on_disk(tmp_path / "outbox")
    put(again, 1)
    assert again.last_seq > 10
    again.close()


def test_a_disk_that_comes_later_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    early = on_disk(tmp_path / "outbox")
    put(early, 3)
    early.close()
    blocked = tmp_path / "outbox.lock"
    blocked.rename(tmp_path / "aside")
    blocked.mkdir()
    outbox = on_disk(tmp_path / "outbox", boot(time))
    put(outbox, 2)
    assert outbox.health()["trouble"] == "is a directory"
    outbox.begin()
    assert taken(outbox, 1, done=False) == ["4r"]
    blocked.rmdir()
    time.now_s += 100
    outbox.upkeep()
    assert sorted(taken(outbox)) == [*numbers(1, 3, "r"), "5r"]
    outbox.upkeep()
    outbox.flush()
    left_alone(outbox)
    again = on_disk(tmp_path / "outbox")
    assert again.last_seq == 5
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], check=False).returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_real_full_disk_means_memory_until_there_is_room(small_disk: Path) -> None:
    time = Time()
    outbox = on_disk(small_disk / "outbox", boot(time))
    noise = random.Random(0)
    for number in range(1, 301):
        outbox.put(Message("events", noise.randbytes(1000), seq=number))
    assert outbox.health()["durable"] is False
    assert "full" in str(outbox.health()["trouble"])
    assert 0 < outbox.kept < 300
    received = list(iter(outbox.take, None))
    assert [message.seq for message in received] == list(range(1, 301))
    for message in received:
        outbox.done(message)
    time.now_s += 100
    outbox.upkeep()
    assert outbox.last_seq == 300
    outbox.close()


def test_a_read_only_disk_means_memory_and_keeps_what_it_has(small_disk: Path) -> None:
    path = small_disk / "outbox"
    outbox = on_disk(path)
    put(outbox, 3)
    left_alone(outbox)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    locked = on_disk(path)
    put(locked, 2)
    assert "read-only" in str(locked.health()["trouble"])
    assert taken(locked) == numbers(STEP + 1, STEP + 2, "r")
    locked.close()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    again = on_disk(path)
    assert taken(again) == numbers(1, 3, "r")
    again.close()


def written() -> int:
    """Bytes that this process has handed to the kernel."""
    return int(Path("/proc/self/io").read_text().split("wchar:")[1].split()[0])


def megabytes_an_hour(path: Path, per_s: int, seconds: int, *, connected: bool) -> float:
    """What an outbox writes at so many events a second, measured over `seconds`."""
    time, start = Time(), written()
    outbox = on_disk(path, boot(time), pace=Pace())
    noise = random.Random(0)
    for _ in range(seconds):
        time.now_s += 1
        for _ in range(per_s):
            outbox.put(Message("events", noise.randbytes(480), seq=outbox.last_seq + 1))  # an event, packed
            arrive(outbox, connected=connected)
        outbox.upkeep()
        outbox.flush()
        arrive(outbox, connected=connected)
    outbox.close()
    return (written() - start) * 3600 / seconds / 1e6


def arrive(outbox: Outbox, *, connected: bool) -> None:
    while connected and (message := outbox.take()):
        outbox.done(message)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not count what is written")
def test_an_sd_card_is_asked_for_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = megabytes_an_hour(tmp_path / "usual", 1, 900, connected=True)
    storm = megabytes_an_hour(tmp_path / "storm", 50, 120, connected=True)
    outage = megabytes_an_hour(tmp_path / "outage", 1, 900, connected=False)
    figures = f"1 event/s: {usual:.1f} MB/h, in an outage {outage:.1f} MB/h; 50 events/s: {storm:.1f} MB/h"
    with capsys.disabled():
        sys.stdout.write(f"\nwritten to disk at {figures}\n")
    assert usual < 30
    assert outage < 30
    assert storm < 400  # a commit for each event would be 750


class Life:
    """An outbox, all that can happen to it, the numbers that were sent and those that arrived or are lost."""

    def __init__(self, path: Path, broken: Broken) -> None:
        self._path, self._broken = path, broken
        self._time = Time()
        self.sent = set[int]()
        self.covered = set[int]()
        self.flying: list[Message] = []
        self.start()

    def start(self) -> None:
        self.outbox = on_disk(self._path, boot(self._time), pace=Pace(burst=3, commits_per_s=0.1))

    def put(self) -> None:
        put(self.outbox, 1)
        assert self.outbox.last_seq not in self.sent, "a number was given twice"

    def take(self) -> None:
        if message := self.outbox.take():
            self.flying.append(message)
            self.sent.add(message.seq or 0)

    def done(self) -> None:
        if self.flying:
            message = self.flying.pop(0)
            last = message.seq or 0
            self.covered |= set(range(last - max(message.lost - 1, 0), last + 1))
            self.outbox.done(message)

    def rewind(self) -> None:
        self.outbox.rewind()
        self.outbox.begin()
        self.flying.clear()

    def upkeep(self) -> None:
        self._time.now_s += 61
        self.outbox.upkeep()
        self.outbox.flush()

    def break_(self) -> None:
        self._broken.why = "database or disk is full"

    def mend(self) -> None:
        self._broken.why = None

    def kill(self) -> None:
        left_alone(self.outbox)
        self.flying.clear()
        self.start()

    def end(self) -> None:
        """All is well again, one more event comes, and everything arrives."""
        self.mend()
        self.rewind()
        self.upkeep()
        self.put()
        self.outbox.hasten()
        while len(self.outbox):
            self.take()
            self.done()
        self.outbox.close()


STEPS = ["put", "put", "put", "take", "take", "done", "rewind", "upkeep", "break_", "mend", "kill"]


@examples(40)
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_whatever_happens_no_number_is_given_twice_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        life = Life(tmp_path_factory.mktemp("life") / "outbox", Broken(monkeypatch))
        for step in steps:
            getattr(life, step)()
        life.end()
    assert life.covered == set(range(1, life.outbox.last_seq + 1))


# ---- damage --------------------------------------------------------------------------------------


def filled(path: Path, count: int, *, checkpoint: bool) -> Outbox:
    """An outbox with `count` events, in the file (`checkpoint`) or in its log."""
    outbox = on_disk(path)
    put(outbox, count)
    disk = outbox._disk
    assert disk is not None
    assert disk._journal is not None
    if checkpoint:
        disk._journal.checkpoint()
    return outbox


def recovered(path: Path, count: int) -> list[str]:
    """What comes out, after one more event was put in: each number once, as an event or as lost."""
    outbox = on_disk(path, boot(name="second"))
    put(outbox, 1)
    texts = taken(outbox)
    covered = list[int]()
    for text in texts:
        first, _, last = text.removesuffix("r").partition("-")
        covered += range(int(first), int(last or first) + 1)
    assert covered == list(range(1, outbox.last_seq + 1))
    assert outbox.last_seq > count
    outbox.close()
    return texts


@pytest.mark.parametrize("end", ["", "-wal"])
def test_an_outbox_cut_off_anywhere_gives_what_is_whole_and_tells_the_rest(
    end: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A power cut: the file, or its log, ends somewhere."""
    open_ = filled(tmp_path / "whole", 12, checkpoint=not end)
    files = {name: (tmp_path / f"whole{name}").read_bytes() for name in ("", "-wal", ".seq")}
    left_alone(open_)
    size, page = len(files[end]), 2048
    events = dict[int, int]()
    for length in sorted({*range(0, size, 509), *range(0, size, page), *range(page - 1, size, page)}):
        for name, content in files.items():
            (tmp_path / f"cut{length}{name}").write_bytes(content[:length] if name == end else content)
        texts = recovered(tmp_path / f"cut{length}", 12)
        events[length] = sum(text.endswith("r") for text in texts)
    assert events[0] == 1
    assert max(events.values()) >= 12
    if end:
        assert list(events.values()) == sorted(events.values())  # of the log, all that is whole


@examples(25)
@given(at=st.integers(0, 10**6), junk=st.binary(min_size=1, max_size=40))
@example(at=7989, junk=b"$")
def test_an_outbox_with_flipped_bytes_never_stops_edgekit(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    path = folder / "outbox"
    left_alone(filled(path, 12, checkpoint=True))
    content = path.read_bytes()
    at %= len(content) - len(junk)
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    outbox = on_disk(path)
    put(outbox, 1)
    texts = taken(outbox)
    assert texts[-1] == f"{outbox.last_seq}r"
    outbox.close()
