"""What waits for the broker: order, bound, and what a connection says first. No socket."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.outbox import Mailbox, Message, Outbox


def state(topic: str, value: str) -> Message:
    return Message(topic, value.encode(), retain=True)


def mailbox(limit: int = 10) -> Mailbox:
    return Mailbox(state("status", "online"), limit)


def said(box: Mailbox) -> list[str]:
    """All that the connection carries now, acknowledged at once."""
    texts = []
    while message := box.next():
        texts.append(f"{message.topic}={message.payload.decode()}")
        box.done(message)
    return texts


def event(number: int) -> Message:
    return Message("events", str(number).encode())


def test_nothing_is_said_without_a_connection() -> None:
    box = mailbox()
    box.retain(state("info", "x"))
    box.put(event(1))
    assert box.next() is None


def test_birth_is_state_then_online_then_what_waited() -> None:
    box = mailbox()
    box.put(event(1))
    box.retain(state("info", "x"))
    box.retain(state("count", "0"))
    box.retain(state("count", "1"))
    box.begin()
    assert said(box) == ["info=x", "count=1", "status=online", "events=1"]
    box.put(event(2))
    assert said(box) == ["events=2"]


def test_a_state_is_said_when_it_changes_and_only_its_last_value() -> None:
    box = mailbox()
    box.begin()
    assert said(box) == ["status=online"]
    for value in "0110":
        box.retain(state("count", value))
    assert said(box) == ["count=0"]
    box.retain(state("count", "0"))
    assert said(box) == []


def test_a_new_connection_hears_all_state_again() -> None:
    box = mailbox()
    box.retain(state("info", "x"))
    for _ in range(3):
        box.begin()
        assert said(box) == ["info=x", "status=online"]
        box.end()


def test_events_without_an_answer_are_said_again_in_their_place() -> None:
    box = mailbox()
    box.begin()
    for number in range(4):
        box.put(event(number))
    taken = [box.next() for _ in range(4)]  # online, 0, 1, 2
    assert taken[2] is not None
    box.done(taken[2])
    box.end()
    assert box.waiting == 3
    box.begin()
    assert said(box) == ["status=online", "events=0", "events=2", "events=3"]


def test_the_farewell_comes_last_unless_time_runs_out() -> None:
    box = mailbox()
    box.begin()
    box.put(event(1))
    box.say_last(state("status", "stopped"))
    assert said(box) == ["status=online", "events=1", "status=stopped"]
    box.begin()
    box.put(event(2))
    box.say_last(state("status", "stopped"))
    hurried = box.next(hurry=True)
    assert hurried is not None
    assert hurried.payload == b"stopped"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["put", "take", "done", "rewind"]), max_size=60), st.integers(1, 5))
def test_an_outbox_keeps_order_and_loses_only_what_it_counts(steps: list[str], limit: int) -> None:
    outbox, taken, acknowledged, number = Outbox(limit), list[Message](), list[Message](), 0
    for step in steps:
        if step == "put":
            outbox.put(event(number := number + 1))
        elif step == "take" and (message := outbox.take()):
            taken.append(message)
        elif step == "done" and taken:
            acknowledged.append(taken.pop(0))
            outbox.done(acknowledged[-1])
        elif step == "rewind":
            outbox.rewind()
            taken.clear()
    assert len(outbox) + len(acknowledged) + outbox.dropped == number
    outbox.rewind()
    assert len(outbox) <= limit
    left = []
    while message := outbox.take():
        left.append(int(message.payload))
    assert left == sorted(left)
    assert not {int(m.payload) for m in acknowledged} & set(left)
    assert not left or left[-1] == number
