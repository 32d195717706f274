"""All that `edgekit analyze` may be asked about a model, gathered: the plan, devices, what-if, comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit import analyze, model
from edgekit.analyze.compare import Comparison, compare
from edgekit.analyze.forecast import Forecast, Place, forecast, pareto
from edgekit.analyze.page import Findings, render
from edgekit.analyze.whatif import Scenario, how_spread, parse_sparsities, what_if
from edgekit.device import Device, load_device, probe
from edgekit.errors import UsageError
from edgekit.inference import find_file
from edgekit.model.tensors import describe
from edgekit.optimize.oneshot.calibration import Calibration
from edgekit.optimize.oneshot.pictures import load_inputs

MOST_INPUTS = 64  # for a proxy; pruning itself takes more
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Questions:
    """What is asked beside the plan: devices by name or file, `what_if` as typed, models to compare with.

    Raises UsageError for what makes no sense, ConfigError for a profile with a mistake.
    """

    devices: Sequence[str] = ()
    what_if: str | None = None
    calibration: Path | None = None
    compare: Sequence[str] = ()
    zoo: bool = False

    def __post_init__(self) -> None:
        if self.calibration and not (self.what_if or self.compare):
            raise UsageError("--calibration needs --what-if sparsity=0.5..0.95, or --compare MODEL")
        self.shares()
        for device in self.devices:
            load_device(device)

    def shares(self) -> list[float]:
        """The sparsities that are asked for."""
        return parse_sparsities(self.what_if) if self.what_if else []


@dataclass(frozen=True)
class Study:
    """The answers, in the order of the devices."""

    report: analyze.Report
    file_bytes: int
    here: Device
    devices: tuple[Device, ...]
    forecasts: tuple[Forecast, ...]
    zoo: tuple[tuple[Place, ...], ...]
    scenarios: tuple[Scenario, ...]
    comparisons: tuple[Comparison, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the report's own fields, and what was asked beside."""
        names = [device.name for device in self.devices]
        told = [{"device": n, **asdict(f)} for n, f in zip(names, self.forecasts, strict=True)]
        zoo = {n: [asdict(place) for place in p] for n, p in zip(names, self.zoo, strict=False)}
        return {
            **self.report.to_dict(), "devices": told, "zoo": zoo,
            "what_if": [asdict(s) for s in self.scenarios],
            "what_if_spread": how_spread(self.scenarios) if self.scenarios else None,
            "compare": [asdict(c) for c in self.comparisons],
        }  # fmt: skip

    def html(self) -> str:
        """One page that needs nothing else. Raises MissingExtraError without matplotlib."""
        return render(
            Findings(
                self.report, self.file_bytes, self.here, self.devices, self.forecasts, self.zoo,
                self.scenarios, self.comparisons,
            )
        )  # fmt: skip


def study(name: str, report: analyze.Report, asked: Questions, progress: Progress) -> Study:
    """Answer the questions about the model of the report.

    `progress` hears a line now and then. Raises UsageError, ModelError, SourceError.
    """
    shares = asked.shares()
    wants_devices = asked.what_if or asked.compare or asked.zoo
    names = asked.devices or (["auto"] if wants_devices else [])
    devices = [load_device(each) for each in names]
    file, card = find_file(name)
    graph = model.read(file)
    calibration = None
    if asked.calibration:
        facts = card.input if card else {}
        infos = describe(graph, graph.inputs)
        calibration = Calibration(load_inputs(asked.calibration, infos, facts, MOST_INPUTS, progress))
    others = [find_file(other)[0] for other in asked.compare]
    here = load_device("auto")
    measured = here.name if report.total_us and not probe().emulated else ""
    return Study(
        report,
        file.stat().st_size,
        here,
        tuple(devices),
        tuple(forecast(graph, device) for device in devices),
        tuple(tuple(pareto(device, progress)) for device in devices) if asked.zoo else (),
        tuple(what_if(graph, devices, shares, calibration, progress)) if shares else (),
        tuple(c for other in others for c in compare(graph, other, devices, progress, measured, calibration)),
    )
