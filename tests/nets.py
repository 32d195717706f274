"""Builds networks for tests, operator by operator, and runs them on TFLite's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import model
from edgekit.engine import interpreter
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.schema import Value

Array = NDArray[Any]
Shape = tuple[int, ...]


class Net:
    """A graph being written. Tensors are int8 unless `dtype` says else; methods give the tensor's index."""

    def __init__(self, dtype: str = "int8", scale: float = 0.1, zero_point: int = 3) -> None:
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.ends: tuple[list[int], list[int]] = ([], [])
        self._like = (np.dtype(dtype), scale, zero_point)

    def tensor(self, shape: Shape, data: Array | None = None, **facts: Any) -> int:
        dtype, scale, zero_point = self._like
        dtype = np.dtype(facts.get("dtype", dtype))
        quantised = dtype.itemsize == 1 and dtype.kind in "iu"
        scales = [facts.get("scale", scale)] if quantised else None
        points = [facts.get("zero_point", zero_point)] if quantised else None
        name = facts.get("name", f"t{len(self.tensors)}")
        self.tensors.append(Tensor(name, shape, dtype, scales, points, 0, data))  # type: ignore[arg-type]
        return len(self.tensors) - 1

    def input(self, *shape: int, **facts: Any) -> int:
        self.ends[0].append(self.tensor(shape, **facts))
        return self.ends[0][-1]

    def constant(self, data: Any, dtype: str = "int32", **facts: Any) -> int:
        array = np.array(data, dtype)
        return self.tensor(array.shape, array, dtype=dtype, **facts)

    def op(self, kind: str, inputs: Sequence[int], shape: Shape, **facts: Any) -> int:
        """An operator with one output; lower-case `facts` of `tensor` describe it, the others are options."""
        own = {name: facts.pop(name) for name in ("dtype", "scale", "zero_point", "name") if name in facts}
        return self.ops_of(kind, inputs, [self.tensor(shape, **own)], facts)[0]

    def ops_of(
        self, kind: str, inputs: Sequence[int], outputs: list[int], options: dict[str, Value]
    ) -> list[int]:
        version = int(options.pop("version", 1))  # type: ignore[arg-type]
        self.ops.append(Op(kind, tuple(inputs), tuple(outputs), options, version))
        return outputs

    def weights(self, data: Any, scale: float = 0.02) -> int:
        return self.constant(data, "int8", scale=scale, zero_point=0)

    def bias(self, data: Any, scale: float = 0.002) -> int:
        """A bias; its scale is that of an input of 0.1 times weights of 0.02 unless it says else."""
        index = self.constant(data)
        self.tensors[index] = replace(self.tensors[index], scale=np.array([scale], np.float32))
        return index

    def transpose(self, index: int, *order: int, **facts: Any) -> int:
        shape = tuple(self.tensors[index].shape[axis] for axis in order)
        return self.op("TRANSPOSE", [index, self.constant(order)], shape, **facts)

    def graph(self, *outputs: int) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.ops), tuple(self.ends[0]), outputs)


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def random_inputs(graph: Graph, seed: int) -> list[Array]:
    """Data for every input, all values of a byte equally likely."""
    rng = np.random.default_rng(seed)
    return [_random(rng, graph.tensors[index]) for index in graph.inputs]


def _random(rng: np.random.Generator, tensor: Tensor) -> Array:
    if tensor.dtype == np.float32:
        return rng.normal(0, 3, tensor.shape).astype(np.float32)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max + 1, tensor.shape).astype(tensor.dtype)


def run_reference(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of the interpreter with its reference kernels."""
    return run_content(model.write(graph), graph, inputs)


def run_content(content: bytes, graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The same for a file of which the graph was read."""
    _, module = interpreter.find_runtime()
    with interpreter.quiet_stderr():
        runs = module.Interpreter(
            model_content=content,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,  # else it may write over what is still to be read
        )
        runs.allocate_tensors()
        for index, array in zip(graph.inputs, inputs, strict=True):
            runs.set_tensor(index, array)
        runs.invoke()
        return [np.asarray(runs.get_tensor(index)) for index in graph.outputs]


def assert_same(one: Graph, other: Graph, seeds: Sequence[int] = (0,)) -> None:
    """Both graphs have the same ends and give the same bytes."""
    for ends in ("inputs", "outputs"):
        names = [[(g.tensors[i].name, g.tensors[i].shape) for i in getattr(g, ends)] for g in (one, other)]
        assert names[0] == names[1]
    for seed in seeds:
        inputs = random_inputs(one, seed)
        pairs = zip(run_reference(one, inputs), run_reference(other, inputs), strict=True)
        for expected, got in pairs:
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
