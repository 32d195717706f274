"""Score detectors and classifiers on labelled pictures, by the very code that a pipeline runs."""

from __future__ import annotations

from edgekit.evaluate.scoring import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
