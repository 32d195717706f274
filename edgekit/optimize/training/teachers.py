"""Teachers that are files: ONNX by onnxruntime, `.tflite` by edgekit's engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit import engine, model
from edgekit.config.complaint import similar
from edgekit.errors import ConfigError, MissingExtraError, ModelError
from edgekit.model.graph import Graph
from edgekit.optimize.training.distillation import Outputs

LEAST = 1e-7  # of a probability that becomes a logit


def load_teacher(path: str | Path, features: list[str]) -> Any:
    """The teacher in a .onnx or .tflite file, called with (images,); `features` are names of its tensors.

    ConfigError for another kind of file and for unknown tensors, ModelError for an unreadable one.
    """
    path = Path(path)
    kinds = {".onnx": OnnxTeacher, ".tflite": TfliteTeacher}
    if path.suffix not in kinds:
        raise ConfigError(f"{path}: expected a teacher that is a .onnx or .tflite file")
    return kinds[path.suffix](path, features)


def _logits(values: Tensor, *, from_softmax: bool) -> Tensor:
    return values.clamp(min=LEAST).log() if from_softmax else values


class TfliteTeacher:
    """A `.tflite` classifier or detector, one image after the other; images NHWC in the file."""

    def __init__(self, path: Path, features: list[str]) -> None:
        graph = model.read(path)
        names = {tensor.name: index for index, tensor in enumerate(graph.tensors)}
        for name in features:
            if name not in names:
                raise ConfigError(f"{path}: has no tensor {name!r}{similar(name, names)}")
        self.count = len(graph.outputs)
        wanted = (*graph.outputs, *(names[name] for name in features))
        self.graph: Graph = replace(graph, outputs=wanted)
        self.features = features
        self.engine = engine.load_graph(self.graph, str(path))
        producers = [graph.producer.get(index) for index in graph.outputs]
        self.soft = [op is not None and op.kind == "SOFTMAX" for op in producers]

    def __call__(self, inputs: tuple[Any, ...]) -> Outputs:
        images = inputs[0].detach().float()
        stored = self._stored(images.cpu())
        runs = [self.engine.run(one[None]) for one in stored]
        real = [
            self._real(index, np.concatenate([run[number] for run in runs]))
            for number, index in enumerate(self.graph.outputs)
        ]
        real = [one.to(images.device) for one in real]
        outputs = tuple(_logits(one, from_softmax=soft) for one, soft in zip(real, self.soft, strict=False))
        return outputs, dict(zip(self.features, real[self.count :], strict=True))

    def _stored(self, images: Tensor) -> NDArray[Any]:
        """Images (n, c, h, w) as the file's input type."""
        tensor = self.graph.tensors[self.graph.inputs[0]]
        values = (images.permute(0, 2, 3, 1) if images.ndim == 4 else images).numpy()
        if values.shape[1:] != tensor.shape[1:]:
            raise ModelError(f"the teacher takes {list(tensor.shape[1:])}, not {list(values.shape[1:])}")
        if tensor.scale is None or tensor.zero_point is None:
            return values.astype(tensor.dtype)
        limits = np.iinfo(tensor.dtype)
        steps = np.rint(values / tensor.scale[0] + tensor.zero_point[0])
        return steps.clip(limits.min, limits.max).astype(tensor.dtype)

    def _real(self, index: int, stored: NDArray[Any]) -> Tensor:
        tensor = self.graph.tensors[index]
        values = stored.astype(np.float32)
        if tensor.scale is not None and tensor.zero_point is not None:
            values = (values - tensor.zero_point[0]) * tensor.scale[0]
        real = torch.from_numpy(values.astype(np.float32))
        return real.permute(0, 3, 1, 2) if real.ndim == 4 else real


class OnnxTeacher:
    """An ONNX file by onnxruntime; images NCHW."""

    def __init__(self, path: Path, features: list[str]) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(error.name or "onnxruntime", "train") from None
        try:
            content = onnx.load(str(path))
        except Exception as error:
            raise ModelError(f"{path}: not a readable ONNX file: check the path") from error
        names = [one.name for one in content.graph.output]
        made = {name: node.op_type for node in content.graph.node for name in node.output}
        for name in features:
            if name not in made:
                raise ConfigError(f"{path}: has no tensor {name!r}{similar(name, made)}")
            content.graph.output.append(onnx.ValueInfoProto(name=name))
        self.count, self.features = len(names), features
        self.soft = [made.get(name) == "Softmax" for name in names]
        try:
            self.session = onnxruntime.InferenceSession(content.SerializeToString())
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: onnxruntime refuses it: {said}") from error

    def __call__(self, inputs: tuple[Any, ...]) -> Outputs:
        names = [one.name for one in self.session.get_inputs()]
        fed = {name: x.detach().float().cpu().numpy() for name, x in zip(names, inputs, strict=False)}
        found = [torch.from_numpy(one).to(inputs[0].device) for one in self.session.run(None, fed)]
        outputs = tuple(_logits(one, from_softmax=soft) for one, soft in zip(found, self.soft, strict=False))
        return outputs, dict(zip(self.features, found[self.count :], strict=True))
