"""Why a thing was reported, or was not: each stage at one moment of a clip, with its threshold."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.config import Config
from edgekit.config.settings import DetectConfig
from edgekit.errors import UsageError
from edgekit.pipeline.fit import open_seconds
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.lane import Lane, Outcome
from edgekit.pipeline.tally import Tally
from edgekit.replay.clip import START_S, ClipClock, open_clip, open_clip_model
from edgekit.rules.alarm import Alarm
from edgekit.types import Detections, Frame, Track

FLOOR = 0.1  # least score of a detection that is worth a word
AROUND_S = 3.0  # seconds of pictures before and after


@dataclass(frozen=True, slots=True)
class Reason:
    """What one stage did; `passed` says whether it let the thing go on."""

    stage: str
    text: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a clip and what came of it."""

    frame: Frame
    outcome: Outcome

    @property
    def at_s(self) -> float:
        return self.frame.time_s - START_S


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reasons at one moment, stage after stage, and the pictures around it."""

    at_s: float
    reasons: tuple[Reason, ...]
    strip: tuple[Moment, ...]


def explain(config: Config, camera: str, clip: str, *, visit: int | None, at_s: float | None) -> Explanation:
    """Why `visit` was reported when it was, or what happened `at_s` seconds after the start of the clip.

    Raises UsageError when there is no such visit, or the clip is shorter.
    """
    settings = config.cameras[camera]
    source = ClipClock(open_clip(clip, settings, camera))
    seen = Camera(camera, settings.detect, lambda: source, settings, open_seconds(config).get(camera))
    lane = Lane(seen, open_clip_model(config), Tally())
    lane.detector.floor = min(FLOOR, lane.detector.least)
    strip: deque[Moment] = deque()
    found: tuple[float, tuple[Reason, ...]] | None = None
    for moment in _moments(lane, source):
        strip.append(moment)
        if found is None and _is_wanted(moment, visit, at_s):
            found = moment.at_s, tuple(reasons_of(lane, settings.detect, moment))
        middle_s = found[0] if found else moment.at_s
        while strip[0].at_s < middle_s - AROUND_S:
            strip.popleft()
        if found and moment.at_s >= middle_s + AROUND_S:
            break
    source.close()
    if found is None:
        raise UsageError(f"{clip}: {_absent(visit, at_s, lane)}")
    return Explanation(*found, tuple(strip))


def _moments(lane: Lane, source: ClipClock) -> Iterator[Moment]:
    for frame in source.frames():
        if not lane.begun:
            lane.begin(source.fps, frame.time_s)
        yield Moment(frame, lane.process(frame, frame.mono_s, frame.mono_s))


def _is_wanted(moment: Moment, visit: int | None, at_s: float | None) -> bool:
    if at_s is not None:
        return moment.at_s >= at_s - 1e-6
    return any(event.type == "new" and event.number == visit for event in moment.outcome.events)


def _absent(visit: int | None, at_s: float | None, lane: Lane) -> str:
    ended_s = lane.last.mono_s if lane.last else 0.0
    if at_s is not None:
        return f"ends after {ended_s:.1f} s, there is nothing at {at_s:g} s"
    return f"there is no visit {visit} in its {ended_s:.1f} s; edgekit replay shows which there are"


def reasons_of(lane: Lane, detect: DetectConfig, moment: Moment) -> list[Reason]:
    """What each stage says of the moment, from the first to the last."""
    outcome = moment.outcome
    reasons = [_motion(outcome, detect)]
    if outcome.look.open:
        reasons += _detections(outcome.found, lane, detect)
    for track in outcome.tracks:
        reasons += _track(lane, track)
    for alarm in lane.alarms:
        reasons.append(_alarm(lane, alarm, moment))
    return reasons


def _motion(outcome: Outcome, detect: DetectConfig) -> Reason:
    look, motion = outcome.look, detect.motion
    if motion is None:
        return Reason("motion", "every frame is looked at (detect.motion is not set)", passed=True)
    share = f"{look.motion.share:.2%} of the picture changed by more than threshold {motion.threshold}"
    if not look.open:
        return Reason(
            "motion", f"not looked at: {share}, at no place min_area {motion.min_area:.2%}", passed=False
        )
    where = f"the part {look.region}" if look.region else "all of it"
    return Reason("motion", f"looked at {where} because of {look.reason}: {share}", passed=True)


def _detections(found: Detections, lane: Lane, detect: DetectConfig) -> Iterator[Reason]:
    if not len(found):
        yield Reason("detector", f"nothing with a score of {lane.detector.floor:g} or more", passed=False)
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        what = f"{label} {score:.2f} at {[round(float(pixel)) for pixel in box]}"
        if label not in lane.labels:
            yield Reason("detector", f"{what}: not in detect.labels", passed=False)
        elif score < lane.detector.least:
            least = lane.detector.least
            yield Reason("detector", f"{what}: below {least:g}, half of detect.min_score", passed=False)
        elif score < detect.min_score:
            text = f"{what}: below detect.min_score {detect.min_score:g}, keeps a track but starts none"
            yield Reason("detector", text, passed=False)
        else:
            yield Reason("detector", f"{what}: detect.min_score is {detect.min_score:g}", passed=True)


def _track(lane: Lane, track: Track) -> Iterator[Reason]:
    who = f"track {track.id} {track.label}"
    seen = "seen now" if not track.missed else f"not seen for {track.missed} looks"
    yield Reason("track", f"{who}: {seen}", passed=not track.missed)
    if track.verify:
        best = max(track.verify, key=track.verify.__getitem__)
        told = f"{who}: detect.second_look says {best} {track.verify[best]:.2f}"
        yield Reason("second look", told, passed=best == track.label)
    frames, of = lane.confirmation
    hits, visit = sum(track.hits[-of:]), lane.visit_of(track.id)
    text = f"{who}: surely seen in {hits} of the last {of} looks, detect.confirm asks for {frames}"
    yield Reason(
        "confirm", f"{text}: {f'visit {visit}' if visit else 'not reported'}", passed=visit is not None
    )
    for zone, config in lane.scene.zones.items():
        inside = zone in track.zones
        asked = f"inertia {config.inertia} frames" + (
            f", loiter {config.loiter:g} s" if config.loiter else ""
        )
        yield Reason("zone", f"{who}: {'in' if inside else 'not in'} {zone} ({asked})", passed=inside)
    for line, settings in lane.scene.lines.items():
        ways = [crossing.direction for crossing in track.lines if crossing.line == line]
        told = f"has crossed {line}: {', '.join(ways)}" if ways else f"has not crossed {line}"
        yield Reason("line", f"{who}: {told} (hysteresis {settings.hysteresis:g})", passed=bool(ways))


def _alarm(lane: Lane, alarm: Alarm, moment: Moment) -> Reason:
    present = lane.present()
    blockers = alarm.blockers(present.values())
    waits_s = alarm.waits_s(moment.frame.mono_s)
    held = max((alarm.held(visit) for visit in present), default=0)
    if alarm.on:
        text = "is raised"
    elif held < alarm.frames:
        text = (
            f"the condition held in {held} of {alarm.of} frames for a visit, confirm asks for {alarm.frames}"
        )
    elif blockers:
        text = f"kept back by unless: {', '.join(blockers)}"
    elif waits_s > 0:
        text = f"cooldown: {waits_s:.1f} s to go"
    else:
        text = "each visit for which it holds has had its alarm"
    return Reason("alarm", f"{alarm.name} ({alarm.config.when}): {text}", passed=alarm.on)


def parse_target(event: str | None, at: str | None) -> tuple[int | None, float | None]:
    """A visit's number out of an event id or a plain number, or seconds out of `12.5`, `12.5s` or `1:23`."""
    if (event is None) == (at is None):
        raise UsageError("expected either EVENT or --at TIME")
    if event is not None:
        found = re.fullmatch(r"(?:[a-z0-9_-]+-)?0*([1-9][0-9]*)", event)
        if not found:
            raise UsageError(f"EVENT: expected an event's id or the number at its end, not {event!r}")
        return int(found[1]), None
    clock = re.fullmatch(r"(?:(\d+):)?(\d+(?:\.\d+)?)s?", at or "")
    if not clock:
        raise UsageError(f"--at: expected seconds from the start of the clip, like 12.5 or 1:23, not {at!r}")
    return None, 60.0 * int(clock[1] or 0) + float(clock[2])


def pick(strip: Sequence[Moment], count: int = 8) -> list[Moment]:
    """Some of the moments, evenly spread, the first and the last among them."""
    if len(strip) <= count:
        return list(strip)
    return [strip[round(i * (len(strip) - 1) / (count - 1))] for i in range(count)]
