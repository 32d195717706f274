"""Detections -> Tracks: who is who from frame to frame.

A constant-velocity Kalman filter predicts each box; detections are matched to predictions by overlap,
sure ones first, then the doubtful ones to tracks still without a match, so that a person who is half hidden
keeps the identity (the second association of ByteTrack, Zhang et al. 2022).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from edgekit.types import Detections, Track

Floats = NDArray[np.float64]
HISTORY = 64  # frames of hits that a track remembers; the longest window that confirmation can ask for
SURE_IOU = 0.2  # overlap with the prediction that a sure detection needs
DOUBTFUL_IOU = 0.4  # and a doubtful one, which is easier a mistake
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


@dataclass
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
    hits: deque[bool]
    home: Floats
    home_mono_s: float
    missed: int = 0
    stationary: bool = False

    def see(self, box: Floats, score: float, time_s: float, mono_s: float, *, sure: bool) -> None:
        self.motion.correct(box)
        self.score, self.top_score = score, max(score, self.top_score)
        self.seen_s, self.seen_mono_s, self.missed = time_s, mono_s, 0
        self.hits.append(sure)
        if overlap(self.motion.box[None], self.home[None])[0, 0] < STILL_IOU:
            self.home, self.home_mono_s = self.motion.box, mono_s
        self.stationary = mono_s - self.home_mono_s >= STILL_S

    def miss(self, dt_s: float) -> None:
        self.motion.coast(dt_s)
        self.missed += 1
        self.hits.append(False)

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

    def update(self, detections: Detections, time_s: float, mono_s: float) -> list[Track]:
        """The tracks alive after one more frame; times as in Frame."""
        dt_s = 0.0 if self._mono_s is None else max(mono_s - self._mono_s, 0.0)
        self._mono_s = mono_s
        for track in self._tracks:
            track.motion.predict(dt_s)
        sure = detections.scores >= self.min_score
        waiting = list(self._tracks)
        left = self._associate(waiting, detections, np.flatnonzero(sure), SURE_IOU, (time_s, mono_s))
        self._associate(waiting, detections, np.flatnonzero(~sure), DOUBTFUL_IOU, (time_s, mono_s))
        for track in waiting:
            track.miss(dt_s)
        alive = [t for t in self._tracks if mono_s - t.seen_mono_s <= self.lost_s]
        self._tracks = alive + [self._start(detections, index, (time_s, mono_s)) for index in left]
        return [t.snapshot() for t in self._tracks]

    def _associate(
        self,
        waiting: list[_Followed],
        detections: Detections,
        chosen: NDArray[np.intp],
        least: float,
        when: tuple[float, float],
    ) -> list[int]:
        """Show each of the `waiting` its best detection and take it out of them; the detections left over."""
        boxes = detections.boxes[chosen].astype(np.float64)
        predicted = np.array([t.motion.box for t in waiting]).reshape(-1, 4)
        labels = np.array([t.label for t in waiting], np.str_)
        same = labels[:, None] == detections.labels[chosen][None, :]
        pairs = match(np.where(same, overlap(predicted, boxes), -1.0), least)
        for row, column in pairs:
            score = float(detections.scores[chosen[column]])
            waiting[row].see(boxes[column], score, *when, sure=score >= self.min_score)
        for row in sorted((row for row, _ in pairs), reverse=True):
            del waiting[row]
        taken = {column for _, column in pairs}
        return [int(index) for column, index in enumerate(chosen) if column not in taken]

    def _start(self, detections: Detections, index: int, when: tuple[float, float]) -> _Followed:
        box, score = detections.boxes[index].astype(np.float64), float(detections.scores[index])
        time_s, mono_s = when
        return _Followed(
            id=next(self._ids),
            label=str(detections.labels[index]),
            motion=Motion(box),
            score=score,
            top_score=score,
            start_s=time_s,
            seen_s=time_s,
            seen_mono_s=mono_s,
            hits=deque([True], maxlen=HISTORY),
            home=box,
            home_mono_s=mono_s,
        )
