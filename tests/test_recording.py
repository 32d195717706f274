"""Steps that a GPU records and replays: what is recorded when, by a CUDA of the tests' own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'edgekit[train]'")

from torch import Tensor, nn  # noqa: E402

from edgekit.optimize import wrap  # noqa: E402
from edgekit.optimize.training.recording import WARM, Gradients, Recorder  # noqa: E402


class Graph:
    """What stands for a CUDA graph: a replay computes from the tensors that were there at the recording."""

    compute: Callable[[], None]

    def replay(self) -> None:
        self.compute()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Counts calls and replays; `refuses` makes a recording fail as CUDA does."""
    seen = SimpleNamespace(calls=0, refuses=False, recording=None)
    stream = SimpleNamespace(wait_stream=lambda _other: None)

    @contextlib.contextmanager
    def graph(made: Graph, *_arguments: Any, **_options: Any) -> Iterator[None]:
        if seen.refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        seen.recording = made
        yield
        seen.recording = None

    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "graph_pool_handle": lambda: None,
        "stream": lambda _stream: contextlib.nullcontext(),
        "synchronize": lambda: None,
        "CUDAGraph": Graph,
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return seen


def doubling(seen: SimpleNamespace) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        seen.calls += 1
        output = x * 2
        if seen.recording is not None:
            seen.recording.compute = lambda: output.copy_(x * 2)
        return output

    return function


def test_the_fourth_call_of_the_same_shapes_is_recorded_and_later_ones_are_replayed(cuda: Any) -> None:
    recorder = Recorder(doubling(cuda))
    for number in range(10):
        assert torch.equal(recorder(torch.full((3,), float(number))), torch.full((3,), 2.0 * number))
    assert cuda.calls == WARM + 1
    recorder(torch.zeros(4))
    assert (cuda.calls, len(recorder.recordings)) == (WARM + 2, 1)
    recorder.forget()
    recorder(torch.zeros(3))
    assert (cuda.calls, len(recorder.recordings)) == (WARM + 3, 0)


def test_what_comes_out_stays_what_it_was(cuda: Any) -> None:
    recorder = Recorder(doubling(cuda))
    outputs = [recorder(torch.full((1,), float(number))) for number in range(8)]
    assert [float(one) for one in outputs] == [2.0 * number for number in range(8)]


def test_what_cannot_be_recorded_is_computed_and_said_once(
    cuda: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.refuses = True
    recorder = Recorder(doubling(cuda))
    for number in range(8):
        assert float(recorder(torch.tensor(float(number)))) == 2.0 * number
    assert cuda.calls == 8
    assert [record.message for record in caplog.records] == [
        "steps run kernel by kernel: operation not permitted when stream is capturing"
    ]


def test_recordings_are_forgotten_when_a_stage_begins_or_ends_or_ranges_freeze() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    stages = [{"freeze": {"end": 1, "layers": ["0"]}}, {"quantize": {"start": 2, "end": 4, "freeze": 0.5}}]
    session = wrap(model, optimizer, stages, steps_per_epoch=2)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        loss = session.model(images).square().mean()
        return loss, loss

    gradients, phases = Gradients(session, losses, torch.device("cpu")), []
    for _ in range(8):
        gradients(torch.rand(2, 3, 4, 4))
        phases.append(session.phase)
        session.step()
    changes = [step for step in range(1, 8) if phases[step] != phases[step - 1]]
    assert changes == [2, 4, 6]  # the first layer learns, the network is int8, its ranges stay
