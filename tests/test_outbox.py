"""What waits for the broker: order, bound, and what a connection says first. No socket."""

from __future__ import annotations

import pytest
from boxes import Time, event, in_ram, on_disk, put, taken
from hypothesis import given
from hypothesis import strategies as st

from edgekit.mqtt.disk import Pace
from edgekit.mqtt.mailbox import Mailbox
from edgekit.mqtt.messages import Message
from edgekit.mqtt.outbox import Outbox


def state(topic: str, value: str) -> Message:
    return Message(topic, value.encode(), retain=True)


def mailbox(limit: int = 10) -> Mailbox:
    return Mailbox(state("status", "online"), in_ram(limit))


def said(box: Mailbox) -> list[str]:
    """All that the connection carries now, acknowledged at once."""
    texts = []
    while message := box.next():
        texts.append(f"{message.topic}={message.payload.decode()}")
        box.done(message)
    return texts


# ---- the mailbox ---------------------------------------------------------------------------------


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
    assert said(box) == ["info=x", "count=1", "status=online", 'events={"seq":1,"replayed":true}']
    box.put(event(2))
    assert said(box) == ['events={"seq":2,"replayed":false}']


def test_a_state_is_said_when_it_changes_and_only_its_last_value() -> None:
    box = mailbox()
    box.begin()
    assert said(box) == ["status=online"]
    for value in "0110":
        box.retain(state("count", value))
    assert said(box) == ["count=0"]
    box.retain(state("count", "0"))
    assert said(box) == []


def test_a_state_that_changes_during_the_birth_is_said_before_online() -> None:
    box = mailbox()
    box.retain(state("count", "0"))
    box.retain(state("info", "x"))
    box.begin()
    box.put(event(1))
    box.retain(state("info", "y"))
    assert said(box) == ["count=0", "info=y", "status=online", 'events={"seq":1,"replayed":false}']


def test_a_state_comes_after_the_event_that_led_to_it_and_before_the_next() -> None:
    box = mailbox()
    box.begin()
    assert said(box) == ["status=online"]
    box.put(event(1))
    box.retain(state("count", "0"))
    box.put(event(2))
    box.retain(state("camera", "offline"))
    topics = [text.partition("=")[0] for text in said(box)]
    assert topics == ["events", "count", "events", "camera"]


def test_a_state_does_not_wait_for_events_of_an_outage() -> None:
    box = mailbox()
    for number in range(1, 6):
        box.put(event(number))
    box.begin()
    assert box.next() is not None  # online
    box.retain(state("count", "1"))
    message = box.next()
    assert message is not None
    assert message.topic == "count"


def test_a_new_connection_hears_all_state_again() -> None:
    box = mailbox()
    box.retain(state("info", "x"))
    for _ in range(3):
        box.begin()
        assert said(box) == ["info=x", "status=online"]
        box.end()


def test_an_answer_comes_after_the_states_that_were_set_before_it() -> None:
    box = mailbox()
    box.begin()
    assert said(box) == ["status=online"]
    box.put(event(1))
    box.retain(state("count", "1"))
    box.answer(Message("response", b"1"))
    box.retain(state("camera", "offline"))
    box.put(event(2))
    topics = [text.partition("=")[0] for text in said(box)]
    assert topics == ["events", "count", "response", "camera", "events"]


def test_an_answer_is_for_the_connection_that_asked() -> None:
    box = mailbox()
    box.answer(Message("response", b"0"))
    box.begin()
    box.answer(Message("response", b"1"))
    assert said(box) == ["status=online", "response=1"]
    box.answer(Message("response", b"2"))
    box.end()
    box.begin()
    assert said(box) == ["status=online"]


def test_what_is_repeated_is_said_once_more_and_what_is_forgotten_is_emptied() -> None:
    box = mailbox()
    box.retain(state("info", "x"))
    box.begin()
    said(box)
    box.repeat(["info", "unknown"])
    assert said(box) == ["info=x"]
    box.forget("info")
    assert said(box) == ["info="]


def test_events_without_an_answer_are_said_again_in_their_place() -> None:
    box = mailbox()
    box.begin()
    for number in range(1, 5):
        box.put(event(number))
    sent = [box.next() for _ in range(4)]  # online, 1, 2, 3
    assert sent[2] is not None
    box.done(sent[2])
    box.end()
    assert box.waiting == 3
    box.begin()
    assert [text[8:15] for text in said(box)][1:] == ['"seq":1', '"seq":3', '"seq":4']


def test_the_farewell_comes_last_unless_time_runs_out() -> None:
    box = mailbox()
    box.begin()
    box.put(event(1))
    box.retain(state("count", "0"))
    box.say_last(state("status", "stopped"))
    assert [text.partition("=")[0] for text in said(box)] == ["status", "events", "count", "status"]
    box.begin()
    box.put(event(2))
    box.say_last(state("status", "stopped"))
    hurried = box.next(hurry=True)
    assert hurried is not None
    assert hurried.payload == b"stopped"


# ---- the outbox ----------------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from(["put", "take", "done", "rewind", "upkeep", "begin"]), max_size=80)


@given(STEPS, st.integers(1, 5))
def test_an_outbox_keeps_order_and_loses_only_what_it_tells(steps: list[str], limit: int) -> None:
    check_steps(in_ram(limit), steps)


@given(STEPS, st.integers(0, 3))
def test_an_outbox_on_disk_keeps_order_too(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], burst: int
) -> None:
    pace = Pace(burst=burst, commits_per_s=0.0)  # some go to the disk, the others when they can
    check_steps(on_disk(tmp_path_factory.mktemp("outbox") / "outbox", pace=pace), steps)


def check_steps(outbox: Outbox, steps: list[str]) -> None:
    """Whatever happens: what is acknowledged, told as lost and left is all there was, and in order."""
    flying, arrived = list[Message](), list[Message]()
    for step in steps:
        if step == "put":
            put(outbox, 1)
        elif step == "take" and (message := outbox.take()):
            flying.append(message)
        elif step == "done" and flying:
            arrived.append(flying.pop(0))
            outbox.done(arrived[-1])
        elif step == "rewind":
            outbox.rewind()
            flying.clear()
        elif step in {"upkeep", "begin"}:
            getattr(outbox, step)()
    assert len(outbox) + sum(not m.lost for m in arrived) + outbox.dropped == outbox.last_seq
    outbox.rewind()
    outbox.hasten()
    while message := outbox.take():
        outbox.done(message)
        arrived.append(message)
    covered = [n for m in arrived for n in range((m.seq or 0) - max(m.lost - 1, 0), (m.seq or 0) + 1)]
    assert covered == list(range(1, outbox.last_seq + 1))


def test_the_oldest_give_way_and_are_told_in_their_place() -> None:
    outbox = in_ram(ram=3)
    put(outbox, 7)
    assert (len(outbox), outbox.dropped) == (3, 4)
    assert taken(outbox, 1) == ["1-4"]
    put(outbox, 1)
    assert taken(outbox) == ["5-5", "6r", "7r", "8r"]


def test_a_gap_that_nobody_heard_is_told_again_and_grows() -> None:
    outbox = in_ram(ram=3)
    put(outbox, 5)
    assert taken(outbox, 1, done=False) == ["1-2"]
    outbox.rewind()
    put(outbox, 1)
    assert taken(outbox) == ["1-3", "4r", "5r", "6r"]


def test_what_waited_too_long_is_dropped_however_the_clock_jumps() -> None:
    time = Time()
    outbox = in_ram(age_s=60.0, time=time)
    put(outbox, 2)
    time.now_s += 50
    put(outbox, 1)
    time.now_s += 20
    outbox.upkeep()
    assert taken(outbox) == ["1-2", "3r"]


def test_an_event_that_the_broker_refuses_is_told_as_lost() -> None:
    outbox = in_ram()
    outbox.begin()
    put(outbox, 2)
    first = outbox.take()
    assert first is not None
    outbox.lose(first)
    assert taken(outbox) == ["1-1", "2"]


def test_a_message_without_a_number_keeps_its_place() -> None:
    outbox = in_ram(ram=4)
    outbox.put(Message("alarm", b"early"))
    put(outbox, 1)
    for name in (b"a", b"b"):
        outbox.put(Message("alarm", name))
    put(outbox, 1)
    assert taken(outbox) == ["1r", "a", "b", "2r"]
    assert outbox.dropped == 1
