"""Detections -> Tracks: who is who from frame to frame.

A constant-velocity Kalman filter predicts each box; detections are matched to predictions by overlap,
sure ones first, then the doubtful ones to tracks still without a match, so that a person who is half hidden
keeps the identity (the second association of ByteTrack, Zhang et al. 2022). What is still left over goes to
those who were lost near by and can have come there: a second behind a car makes nobody somebody else.

What a thing is, its sightings decide together: each is a vote, as strong as its score.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.types import Detections, Track

Floats = NDArray[np.float64]
HISTORY = 64  # frames of hits that a track remembers; the longest window that confirmation can ask for
SURE_IOU = 0.2  # overlap with the prediction that a sure detection needs
DOUBTFUL_IOU = 0.4  # and a doubtful one, which is easier a mistake
FOREIGN = 0.5  # what an overlap is worth when the detection is of another class than the track
DOUBLE_IOU = 0.7  # a detection that lies so much on one of another class is the same thing
REACH = (0.5, 1.5)  # lengths from where it was or should be, and more of them a second, to find a lost thing
LOST_S = 1.0  # beyond which the reach of a lost thing does not grow
LEAP = (1.0, 4.0)  # lengths, and more of them a second, that nothing can have moved between two sightings
STILL_IOU = 0.7  # a box that overlaps its old place this much has not moved
STILL_S = 5.0


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) and (m, 4), x1 y1 x2 y2: (n, m) in 0..1."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = (np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - both
    return np.asarray(np.divide(both, union, out=np.zeros(both.shape), where=union > 0))


def match(scores: Floats, least: float) -> list[tuple[int, int]]:
    """Pairs (row, column), best score first, each row and column used once, none below `least`."""
    pairs = []
    scores = scores.copy()
    while scores.size and scores.max() >= least:
        row, column = np.unravel_index(scores.argmax(), scores.shape)
        pairs.append((int(row), int(column)))
        scores[row, :] = -1
        scores[:, column] = -1
    return pairs


class Motion:
    """Kalman filter of one box: centre and size, each with its velocity, uncertainty in units of the height.

    The noise model is that of SORT (Bewley et al. 2016) and DeepSORT (Wojke et al. 2017), made
    independent of the frame rate by the time step.
    """

    def __init__(self, box: Floats) -> None:
        self.state = np.stack([_centre_size(box), np.zeros(4)], axis=1)  # (4, 2): value, velocity per s
        height = max(self.state[3, 0], 1.0)
        self.cov = np.tile(np.diag([(height / 10) ** 2, height**2]), (4, 1, 1))  # (4, 2, 2)

    def predict(self, dt_s: float) -> None:
        step = np.array([[1.0, dt_s], [0.0, 1.0]])
        height = max(self.state[3, 0], 1.0)
        noise = np.diag([(height / 20) ** 2, (height / 2) ** 2]) * dt_s
        self.state = self.state @ step.T
        self.cov = step @ self.cov @ step.T + noise

    def correct(self, box: Floats) -> None:
        height = max(self.state[3, 0], 1.0)
        gain = self.cov[:, :, 0] / (self.cov[:, 0, 0] + (height / 20) ** 2)[:, None]  # (4, 2)
        self.state = self.state + gain * (_centre_size(box) - self.state[:, 0])[:, None]
        self.cov = self.cov - gain[:, :, None] * self.cov[:, None, 0, :]

    def coast(self, dt_s: float) -> None:
        """Halve the velocity each second: who is not seen may have stopped."""
        self.state[:, 1] *= 0.5**dt_s

    @property
    def box(self) -> Floats:
        centre, size = self.state[:2, 0], np.maximum(self.state[2:, 0], 1.0)
        return np.concatenate([centre - size / 2, centre + size / 2])


def _centre_size(box: Floats) -> Floats:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


@dataclass(eq=False)
class _Followed:
    """A track while it lives."""

    id: int
    label: str
    motion: Motion
    score: float
    top_score: float
    start_s: float
    seen_s: float
    seen_mono_s: float
    box: Floats  # as last detected
    hits: deque[bool]
    home: Floats
    home_mono_s: float
    votes: dict[str, float]
    missed: int = 0
    stationary: bool = False

    def see(self, sighting: _Sighting, time_s: float, mono_s: float, *, sure: bool) -> None:
        self.motion.correct(sighting.box)
        self.box = sighting.box
        self.score, self.top_score = sighting.score, max(sighting.score, self.top_score)
        self.seen_s, self.seen_mono_s, self.missed = time_s, mono_s, 0
        self.hits.append(sure)
        self.vote(sighting)
        if overlap(self.motion.box[None], self.home[None])[0, 0] < STILL_IOU:
            self.home, self.home_mono_s = self.motion.box, mono_s
        self.stationary = mono_s - self.home_mono_s >= STILL_S

    def vote(self, sighting: _Sighting) -> None:
        self.votes[sighting.label] = self.votes.get(sighting.label, 0.0) + sighting.score
        if self.votes[sighting.label] > self.votes[self.label]:
            self.label = sighting.label

    def miss(self, dt_s: float) -> None:
        self.motion.coast(dt_s)
        self.missed += 1
        self.hits.append(False)

    def rest(self, time_s: float, mono_s: float) -> None:
        """Nothing moved where it is, so it is there still."""
        if self.missed == 0:
            self.seen_s, self.seen_mono_s = time_s, mono_s
            self.motion.state[:, 1] = 0.0
            self.stationary = mono_s - self.home_mono_s >= STILL_S

    def leaps(self, box: Floats, mono_s: float) -> bool:
        """Whether a sighting there would be a jump that nothing can make."""
        lengths = math.dist(_foot(self.box), _foot(box)) / _length(self.box)
        return lengths > LEAP[0] + LEAP[1] * (mono_s - self.seen_mono_s)

    def nearness(self, box: Floats, mono_s: float) -> float:
        """How well a box is where a lost thing can be now, 0..1; 0 too when it is of quite another size."""
        if not 0.5 < (box[3] - box[1]) / max(self.box[3] - self.box[1], 1.0) < 2.0:
            return 0.0
        off = min(math.dist(_foot(place), _foot(box)) for place in (self.box, self.motion.box))
        gap_s = min(mono_s - self.seen_mono_s, LOST_S)
        reach = (REACH[0] + REACH[1] * gap_s) * _length(self.box)
        return max(1 - off / reach, 0.0)

    def snapshot(self) -> Track:
        x1, y1, x2, y2 = (float(v) for v in self.motion.box)
        return Track(
            id=self.id,
            label=self.label,
            score=self.score,
            top_score=self.top_score,
            box=(x1, y1, x2, y2),
            start_s=self.start_s,
            seen_s=self.seen_s,
            hits=tuple(self.hits),
            missed=self.missed,
            stationary=self.stationary,
        )


class _Sighting(NamedTuple):
    """One detection."""

    box: Floats
    score: float
    label: str


def _foot(box: Floats) -> tuple[float, float]:
    return float(box[0] + box[2]) / 2, float(box[3])


def _length(box: Floats) -> float:
    return max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0)


def _within(box: Floats, region: tuple[int, int, int, int]) -> bool:
    return bool(box[0] >= region[0] and box[1] >= region[1] and box[2] <= region[2] and box[3] <= region[3])


def _at_edge(box: Floats, size: tuple[int, int]) -> bool:
    width, height = size
    x1, y1, x2, y2 = box
    return bool(x1 <= 0.01 * width or y1 <= 0.01 * height or x2 >= 0.99 * width or y2 >= 0.99 * height)


class Tracker:
    """Follows the things of one camera.

    A detection of `min_score` or more starts a track; any score in the detections keeps one alive. A track
    ends when it was not seen for `lost_s` seconds of the monotonic clock.
    """

    def __init__(self, min_score: float, lost_s: float) -> None:
        self.min_score = min_score
        self.lost_s = lost_s
        self._tracks: list[_Followed] = []
        self._ids = count(1)
        self._mono_s: float | None = None

    def update(
        self,
        detections: Detections,
        time_s: float,
        mono_s: float,
        size: tuple[int, int] | None = None,
        region: tuple[int, int, int, int] | None = None,
    ) -> list[Track]:
        """The tracks alive after one more frame; times as in Frame, `size` its width and height.

        When only a `region` of it was looked at (x1, y1, x2, y2), what is not wholly in there stays as it is.
        """
        dt_s = self._advance(mono_s)
        resting = [t for t in self._tracks if region and not _within(t.motion.box, region)]
        for track in resting:
            track.rest(time_s, mono_s)
        seen = _sightings(detections)
        sure = [s for s in seen if s.score >= self.min_score]
        doubtful = [s for s in seen if s.score < self.min_score]
        waiting = [track for track in self._tracks if track not in resting]
        for track in waiting:
            track.motion.predict(dt_s)
        when = (time_s, mono_s)
        sure = self._show(waiting, sure, _overlaps(waiting, sure, mono_s), SURE_IOU, when)
        self._show(waiting, doubtful, _overlaps(waiting, doubtful, mono_s), DOUBTFUL_IOU, when)
        lost = [t for t in waiting if size is None or not _at_edge(t.box, size)]
        gone = [t for t in waiting if t not in lost]
        sure = self._show(lost, sure, _nearness(lost, sure, mono_s), 1e-6, when)
        for track in lost + gone:
            track.miss(dt_s)
        self._tracks = [t for t in self._tracks if mono_s - t.seen_mono_s <= self.lost_s]
        for sighting in sure:
            if not self._is_double(sighting):
                self._tracks.append(self._start(sighting, when))
        return self.tracks

    def rest(self, time_s: float, mono_s: float) -> list[Track]:
        """The tracks alive after a frame that nobody looked at, since nothing moved in it."""
        self._advance(mono_s)
        for track in self._tracks:
            track.rest(time_s, mono_s)
        return self.tracks

    @property
    def tracks(self) -> list[Track]:
        """The tracks alive."""
        return [track.snapshot() for track in self._tracks]

    def _advance(self, mono_s: float) -> float:
        dt_s = 0.0 if self._mono_s is None else max(mono_s - self._mono_s, 0.0)
        self._mono_s = mono_s
        return dt_s

    def _show(
        self,
        waiting: list[_Followed],
        seen: list[_Sighting],
        alike: Floats,
        least: float,
        when: tuple[float, float],
    ) -> list[_Sighting]:
        """Show each of the `waiting` its best sighting and take it out of them; the sightings left over."""
        pairs = match(alike, least)
        for row, column in pairs:
            waiting[row].see(seen[column], *when, sure=seen[column].score >= self.min_score)
        for row in sorted((row for row, _ in pairs), reverse=True):
            del waiting[row]
        taken = {column for _, column in pairs}
        return [sighting for column, sighting in enumerate(seen) if column not in taken]

    def _is_double(self, sighting: _Sighting) -> bool:
        """Whether it lies on a thing that was just seen as another class; then it is a vote and no more."""
        seen = [track for track in self._tracks if track.seen_mono_s == self._mono_s and track.missed == 0]
        if not seen:
            return False
        overlaps = overlap(np.array([track.box for track in seen]), sighting.box[None])[:, 0]
        best = int(overlaps.argmax())
        if overlaps[best] < DOUBLE_IOU:
            return False
        seen[best].vote(sighting)
        return True

    def _start(self, sighting: _Sighting, when: tuple[float, float]) -> _Followed:
        time_s, mono_s = when
        return _Followed(
            id=next(self._ids),
            label=sighting.label,
            motion=Motion(sighting.box),
            score=sighting.score,
            top_score=sighting.score,
            start_s=time_s,
            seen_s=time_s,
            seen_mono_s=mono_s,
            box=sighting.box,
            hits=deque([True], maxlen=HISTORY),
            home=sighting.box,
            home_mono_s=mono_s,
            votes={sighting.label: sighting.score},
        )


def _sightings(detections: Detections) -> list[_Sighting]:
    boxes, scores = detections.boxes.astype(np.float64), detections.scores.tolist()
    return [_Sighting(*each) for each in zip(boxes, scores, map(str, detections.labels), strict=True)]


def _overlaps(tracks: list[_Followed], seen: list[_Sighting], mono_s: float) -> Floats:
    """(tracks, sightings): overlap with the prediction, less when the class is another, none for a leap."""
    predicted = np.array([track.motion.box for track in tracks]).reshape(-1, 4)
    alike = overlap(predicted, np.array([sighting.box for sighting in seen]).reshape(-1, 4))
    for row, column in np.argwhere(alike > 0):
        if tracks[row].leaps(seen[column].box, mono_s):
            alike[row, column] = 0.0
        elif tracks[row].label != seen[column].label:
            alike[row, column] *= FOREIGN
    return alike


def _nearness(tracks: list[_Followed], seen: list[_Sighting], mono_s: float) -> Floats:
    """(tracks, sightings): how well each sighting can be a thing that was lost."""
    alike = [[t.nearness(s.box, mono_s) if s.label in t.votes else 0.0 for s in seen] for t in tracks]
    return np.array(alike).reshape(len(tracks), len(seen))
