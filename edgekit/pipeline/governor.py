"""Less work when the machine is hot or has too much to do: fewer frames first, a smaller model then.

A frame that comes late is worth less than one that is left out. So the work is taken down a step when it has
been too much for some seconds, and up again only when the step above has looked affordable for a while; a
step up that had to be taken back waits twice as long the next time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.config.settings import GovernorConfig
from edgekit.device.machine import Heat
from edgekit.inference import Model

log = logging.getLogger("edgekit.governor")
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25)  # of the frames that are looked at, step by step
EVERY_S = 1.0  # how often it looks at the machine
DOWN_S = 5.0  # too much for so long: a step down
UP_S, LONGEST_UP_S = 30.0, 600.0  # affordable for so long: a step up
AFFORDABLE = 0.8  # share of the allowed busyness that the step above may be expected to need
TIER_GAIN = 2.0  # how much more the model above is thought to cost; a wrong guess is taken back
COOLER_C = 8.0  # by how much it must be below the limit before more is done
DOWN, UP = 1, -1


@dataclass(frozen=True, slots=True)
class Step:
    """How much is done: the share of the frames, and which of the models looks at them (0: the best)."""

    share: float
    tier: int


FULL = Step(SHARES[0], 0)


class Governor:
    """Decides how much is done, with `models` of which the first is the best; without a config always all."""

    def __init__(
        self, config: GovernorConfig | None, models: Sequence[Model], heat: Callable[[], Heat]
    ) -> None:
        self._config, self._models, self._read = config or GovernorConfig(), models, heat
        smaller = [Step(SHARES[-1], tier) for tier in range(1, len(models))]
        self._steps = [FULL] if config is None else [*(Step(share, 0) for share in SHARES), *smaller]
        self._level = 0
        self._next_s = -math.inf
        self._since: tuple[int, float] | None = None  # which way, and since when
        self._up_s = UP_S
        self._went_up_s = -math.inf
        self._credits: dict[str, float] = {}
        self.heat = heat()
        self.busy = 0.0
        self.reason = ""  # of the last step down, while it holds

    @property
    def step(self) -> Step:
        """How much is done now."""
        return self._steps[self._level]

    @property
    def model(self) -> Model:
        """The model that looks now."""
        return self._models[self.step.tier]

    def admits(self, camera: str) -> bool:
        """Whether this frame of a camera is among those that are looked at: evenly spread."""
        credit = self._credits.get(camera, 1.0) + self.step.share
        self._credits[camera] = credit - 1.0 if credit >= 1.0 else credit
        return credit >= 1.0

    def update(self, busy: float, mono_s: float) -> bool:
        """Look at the machine; `busy` is the share of the time that went into frames. True after a step."""
        if mono_s < self._next_s:
            return False
        self._next_s = mono_s + EVERY_S
        self.heat, self.busy = self._read(), busy
        trouble = self._trouble(busy)
        wish = DOWN if trouble else UP if self._is_affordable(busy) else 0
        if not wish or not 0 <= self._level + wish < len(self._steps):
            self._since = None
            return False
        if self._since is None or self._since[0] != wish:
            self._since = wish, mono_s
        if mono_s - self._since[1] < (DOWN_S if wish == DOWN else self._up_s):
            return False
        self._since = None
        self._go(wish, trouble, mono_s)
        return True

    def _trouble(self, busy: float) -> str:
        """What is too much now; empty when nothing is."""
        temp_c, limit_c = self.heat.temp_c, self._config.hot_c
        if self.heat.throttled:
            return "the processor is throttled"
        if temp_c is not None and temp_c >= limit_c:
            return f"{temp_c:.0f} °C of at most {limit_c:g} °C"
        return f"{busy:.0%} busy of at most {self._config.busy:.0%}" if busy > self._config.busy else ""

    def _is_affordable(self, busy: float) -> bool:
        """Whether the step above would be no trouble, as far as one can tell."""
        if self._level == 0:
            return False
        temp_c = self.heat.temp_c
        cool = temp_c is None or temp_c <= self._config.hot_c - COOLER_C
        now, above = self.step, self._steps[self._level - 1]
        gain = above.share / now.share if above.tier == now.tier else TIER_GAIN
        return cool and busy * gain <= AFFORDABLE * self._config.busy

    def _go(self, wish: int, trouble: str, mono_s: float) -> None:
        if wish == UP:
            self._went_up_s = mono_s
        else:
            taken_back = mono_s - self._went_up_s < self._up_s
            self._up_s = min(2 * self._up_s, LONGEST_UP_S) if taken_back else UP_S
            self.reason = trouble
        self._level += wish
        self.reason = self.reason if self._level else ""
        told = f"{self.step.share:.0%} of the frames, model {self.model.name}"
        log.warning("%s: %s", trouble or "there is time again", told)
