"""Quantised networks and their files, compared output by output with LiteRT and the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")

torch.set_num_threads(1)  # others would wait for each other

from edgekit import engine, model  # noqa: E402
from edgekit.optimize.training import convert, quantization  # noqa: E402

STEPS = 4  # of an epoch, in all trainings of tests


def pictures(count: int = 32, seed: int = 0, channels: int = 3) -> Any:
    return torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def quantized(net: Any, images: Any = None) -> Any:
    quantization.quantize(net)
    quantization.calibrate(net, [pictures() if images is None else images])
    return net


def run_litert(data: bytes, stored: Any) -> list[Any]:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    resolver = interpreter.OpResolverType.BUILTIN_REF
    runner = interpreter.Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], stored)
    runner.invoke()
    return [runner.get_tensor(one["index"]) for one in runner.get_output_details()]


def compare(net: Any, images: Any) -> Any:
    """Export a quantised network; its differences from torch in steps, after LiteRT and the engine agreed."""
    data = convert.export(net, images[:1])
    graph = model.read_bytes(data)
    runner = engine.load_graph(graph, "net", "native", exact=True)
    with torch.no_grad():
        wanted = net.eval()(images)
    apart = []
    for number, image in enumerate(images):
        info = graph.tensors[graph.inputs[0]]
        assert info.scale is not None
        assert info.zero_point is not None
        values = image.movedim(0, -1).numpy() / info.scale[0] + info.zero_point[0]
        stored = np.rint(values).clip(-128, 127).astype(np.int8)[None]
        found = runner.run(stored)[0]
        np.testing.assert_array_equal(run_litert(data, stored)[0], found)
        out = graph.tensors[graph.outputs[0]]
        assert out.scale is not None
        assert out.zero_point is not None
        real = wanted[number].movedim(0, -1) if wanted.ndim == 4 and found.ndim == 4 else wanted[number]
        apart.append(found[0] - np.rint(real.numpy() / out.scale[0] + out.zero_point[0]))
    return np.abs(np.stack(apart))
