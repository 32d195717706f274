"""The reader trusts nothing, the writer is its inverse, and LiteRT agrees with both."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from examples import examples
from fuzz_reader import fuzz
from hypothesis import assume, given
from hypothesis import strategies as st
from nets import Array, Net, kinds, random_inputs, run_content, run_reference
from packed import Sparse, encode, rewritten
from strategies import convolution, graphs, layer, network

from edgekit import engine, model
from edgekit.errors import ModelError
from edgekit.model import writer
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.schema import INT4, OPERATORS, OPTIONS_OF

GOLDEN = Path(__file__).parent / "golden"
SMALL = (b"", b"\0", b"TFL3", bytes(8), b"\0\0\0\0TFL3", b"\x08\0\0\0TFL3", b"\x18\0\0\0TFL3", b"\xff" * 64)


def read_or_refuse(data: bytes) -> Graph | None:
    """The graph, or None when the reader refuses the bytes as it should."""
    try:
        return model.read_bytes(data, "fuzzed")
    except ModelError as error:
        message = str(error)
    assert message.startswith("fuzzed: ")
    assert "\n" not in message
    return None


@examples(60)
@given(graphs())
def test_what_was_written_is_read(graph: Graph) -> None:
    data = model.write(graph)
    again = model.read_bytes(data)
    assert again == graph
    assert model.write(again) == data


def test_constants_are_views_into_the_file_and_aligned_to_16_bytes() -> None:
    data = model.write(network())
    graph = model.read_bytes(data)
    constants = [tensor.data for tensor in graph.tensors if tensor.data is not None]
    places = [data.find(constant.tobytes()) % 16 for constant in constants]
    assert places == [0] * len(constants)
    assert all(not constant.flags.owndata and not constant.flags.writeable for constant in constants)


def test_golden_file_reads_as_ever() -> None:
    assert model.read(GOLDEN / "network.tflite") == network()


def test_every_operator_has_a_line_in_the_options_table() -> None:
    without = {op for op in OPERATORS if op not in OPTIONS_OF}
    assert not {op for op in without if not op.startswith("STABLEHLO_")} - {
        "CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES", "DILATE", "REDUCE_WINDOW",
    }  # fmt: skip
    numbers = [options.number for options in OPTIONS_OF.values()]
    assert set(numbers) == set(range(127))


@pytest.mark.parametrize("data", SMALL)
def test_tiny_files_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="tiny"):
        model.read_bytes(data, "tiny")


def test_truncated_files_are_refused() -> None:
    data = model.write(network())
    for size in range(0, len(data), 16):
        assert read_or_refuse(data[:size]) is None


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes or words changed, most often to values that offsets and lengths stumble over."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, len(out) - 8))
        word = int(rng.choice([0, 1, 4, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), place]))
        match int(rng.integers(0, 4)):
            case 0:
                out[place] = int(rng.integers(0, 256))
            case 1:
                out[place] ^= 1 << int(rng.integers(0, 8))
            case 2:
                struct.pack_into("<I", out, place & ~3, word)
            case _:
                start = int(rng.integers(0, len(out) - 8))
                out[place : place + 8] = out[start : start + 8]
    return bytes(out)


@pytest.mark.parametrize("graph", [layer(1, 5, 3), network(), convolution()])
def test_fuzzed_files_end_as_a_graph_or_an_error(graph: Graph) -> None:
    data, rng = model.write(graph), np.random.default_rng(len(graph.ops))
    survivors = [found for _ in range(800) if (found := read_or_refuse(mutate(data, rng)))]
    assert 0 < len(survivors) < 800
    for survivor in survivors[::20]:
        if all(op.is_known for op in survivor.ops):
            assert model.read_bytes(model.write(survivor)) == survivor


def craft(
    *,
    tensor: Sequence[Any] = (),
    operator: Sequence[Any] = (),
    operators: int = 1,
    buffer: Sequence[Any] = ((0, "u1", [1, 2, 3, 4], 0),),
    code: int = 0,
    subgraphs: int = 1,
    version: int = 3,
    tail: bytes = b"",
) -> bytes:
    """A file of one tensor (4,) uint8 and operators that read it, with further fields put in its tables.

    A field is (slot, type, value, 0); a value that is a list of numbers becomes a vector.
    """
    builder = flatbuffers.Builder(0)

    def table(*slots: Any) -> int:
        return writer._table(builder, [field(*slot) for slot in slots])

    def field(slot: int, kind: str, value: Any, default: Any) -> tuple[int, str, Any, Any]:
        if isinstance(value, list):
            return slot, "offset", writer._numbers(builder, value, kind), 0
        return slot, kind, value, default

    buffers = writer._tables(builder, [table(), table(*buffer)])
    tensors = writer._tables(
        builder, [table((0, "<i4", [4], 0), (1, "byte", 3, 0), (2, "uint", 1, 0), *tensor)]
    )
    used = writer._tables(builder, [table((1, "<i4", [0], 0), *operator)] * operators)
    graph = table((0, "offset", tensors, 0), (3, "offset", used, 0))
    graphs = writer._tables(builder, [graph] * subgraphs)
    codes = writer._tables(builder, [table((3, "int", code, 0))])
    root = table(
        (0, "uint", version, 0), (1, "offset", codes, 0), (2, "offset", graphs, 0), (4, "offset", buffers, 0)
    )
    builder.Finish(root, b"TFL3")
    return bytes(builder.Output()) + tail


def test_data_may_stand_behind_the_flatbuffer() -> None:
    size = len(craft(buffer=[(1, "ulong", 2, 0), (2, "ulong", 4, 0)]))
    graph = model.read_bytes(craft(buffer=[(1, "ulong", size, 0), (2, "ulong", 4, 0)], tail=b"abcd"))
    assert graph.tensors[0].data is not None
    assert graph.tensors[0].data.tobytes() == b"abcd"


MISTAKES: dict[str, dict[str, Any]] = {
    "version 4": {"version": 4},
    "2 subgraphs": {"subgraphs": 2},
    "no builtin operator 999": {"code": 999},
    "no operator code 3": {"operator": [(0, "uint", 3, 0)]},
    "no tensor 9": {"operator": [(2, "<i4", [9], 0)]},
    "no tensor -1": {"operator": [(2, "<i4", [-1], 0)]},
    "already there": {"operator": [(2, "<i4", [0], 0)]},
    "no buffer 7": {"tensor": [(2, "uint", 7, 0)]},
    "type STRING": {"tensor": [(1, "byte", 5, 0)]},
    "type 77": {"tensor": [(1, "byte", 77, 0)]},
    "4 bytes for shape [5]": {"tensor": [(0, "<i4", [5], 0)]},
    "4 bytes for shape [-4]": {"tensor": [(0, "<i4", [-4], 0)]},
    "4 bytes for shape [1, 1": {"tensor": [(0, "<i4", [1] * 9, 0)]},
    "external weights": {"tensor": [(10, "uint", 1, 0)]},
    "type INT4": {"tensor": [(1, "byte", INT4, 0)], "buffer": ()},
    "4 bytes for shape [4] int8": {"tensor": [(1, "byte", INT4, 0)]},
    "options are of type 9": {"operator": [(3, "ubyte", 9, 0)]},
    "bytes 1000000000000 to": {"buffer": [(1, "ulong", 10**12, 0), (2, "ulong", 4, 0)]},
    "again and again": {"operators": 3000, "operator": [(1, "<i4", [0] * 20000, 0)]},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_in_a_file_are_named(message: str) -> None:
    with pytest.raises(ModelError) as caught:
        model.read_bytes(craft(**MISTAKES[message]), "crafted")
    assert str(caught.value).startswith("crafted: ")
    assert message in str(caught.value)


@st.composite
def sparse_arrays(draw: st.DrawFn) -> tuple[Array, Sparse]:
    """An array, and one of the many ways to encode it."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    blocks = {
        axis: block
        for axis, size in enumerate(shape)
        if (block := draw(st.sampled_from([0, 2, 3]))) and not size % block
    }
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dense = np.where(rng.random(shape) < 0.3, rng.integers(-99, 99, shape), 0).astype(np.int8)
    levels = range(len(shape) + len(blocks))
    inner = set(range(len(shape), len(levels)))  # blocks have their sizes in dense levels
    order = draw(st.permutations(levels))
    listed = draw(st.sets(st.sampled_from(levels)))
    return dense, encode(dense, order, blocks, {level for level in listed if order[level] not in inner})


def holding(dense: Array) -> tuple[Graph, int]:
    """A graph that adds a constant to its input, and the constant's index."""
    net = Net()
    x, constant = net.input(*dense.shape), net.constant(dense, "int8")
    return net.graph(net.op("ADD", [x, constant], dense.shape)), constant


@given(sparse_arrays(), st.sampled_from([1, 2, 3]))
def test_sparse_constants_are_unfolded(case: tuple[Array, Sparse], width: int) -> None:
    dense, sparse = case
    graph, index = holding(dense)
    assume(sparse.values.size)
    assume(width < 3 or sparse.values.size < 256)  # a byte counts no further
    assert model.read_bytes(rewritten(graph, index, sparse.values.tobytes(), sparse, width)) == graph


@pytest.mark.parametrize("compressed", [{1}, {0, 1}, {0}, set()])
def test_sparse_constants_are_those_of_the_interpreter(compressed: set[int]) -> None:
    rng = np.random.default_rng(len(compressed))
    dense = np.where(rng.random((8, 12)) < 0.3, rng.normal(0, 1, (8, 12)), 0).astype(np.float32)
    net = Net("float32")
    x, constant = net.input(8, 12), net.constant(dense, "float32")
    graph = net.graph(net.op("ADD", [x, net.op("DENSIFY", [constant], (8, 12))], (8, 12)))
    sparse = encode(dense, [0, 1, 2], {1: 4}, compressed)
    content = rewritten(graph, constant, sparse.values.tobytes(), sparse)
    found, inputs = model.read_bytes(content), random_inputs(graph, 0)
    assert kinds(found) == ["ADD"]
    np.testing.assert_array_equal(run_reference(found, inputs)[0], run_content(content, graph, inputs)[0])


def test_a_densify_without_an_output_unfolds_nothing() -> None:
    net = Net("float32")
    x, constant = net.input(3), net.constant(np.ones(3), "float32")
    net.ops_of("DENSIFY", [constant, x], [], {})
    graph = net.graph(net.op("ADD", [x, x], (3,)))
    assert model.read_bytes(model.write(graph)) == graph


DENSE = np.eye(4, 6, dtype=np.int8)
CSR = encode(DENSE, [0, 1], {}, {1})
SPARSE_MISTAKES: dict[str, Sparse] = {
    "2 levels for 2 axes with 1 blocks": replace(CSR, blocked=[1]),
    "2 levels for 2 axes with 0 blocks": replace(CSR, order=[0, 0]),
    "blocks of 4 on an axis of 6": replace(CSR, order=[0, 1, 2], blocked=[1], levels=[4, 2, 4]),
    "blocks of 0 on an axis of 6": replace(CSR, order=[0, 1, 2], blocked=[1], levels=[4, 2, 0]),
    "5 indices on an axis of 4": replace(CSR, levels=[5, CSR.levels[1]]),
    "4 values in 24 places": replace(CSR, levels=[4, 6]),
    "4 segments of 4 indices below 4": replace(CSR, levels=[4, ([0, 1, 2, 4], [0, 1, 2, 3])]),
    "5 segments of 3 indices below 4": replace(CSR, levels=[4, ([0, 1, 2, 3, 4], [0, 1, 2])]),
    "segments that overlap": replace(CSR, levels=[4, ([0, 3, 2, 3, 4], [0, 1, 2, 3])]),
    "indices beyond 6": replace(CSR, levels=[4, ([0, 1, 2, 3, 4], [0, 1, 2, 6])]),
}


@pytest.mark.parametrize("message", SPARSE_MISTAKES)
def test_mistakes_in_sparse_constants_are_named(message: str) -> None:
    graph, index = holding(DENSE)
    content = rewritten(graph, index, CSR.values.tobytes(), SPARSE_MISTAKES[message], 3)
    with pytest.raises(ModelError, match="tensor 1, sparsity") as caught:
        model.read_bytes(content)
    assert message in str(caught.value)


def test_a_small_file_does_not_unfold_into_a_huge_network() -> None:
    graph, index = holding(np.array([[7], [0]], np.int8))
    sparse = Sparse([0, 1], [], [2, ([0, 1, 1], [0])], np.array([7], np.int8))
    content = rewritten(graph, index, b"\7", sparse, shape=[2, 2**29])
    with pytest.raises(ModelError, match="unfolds to 1073741824 bytes"):
        model.read_bytes(content)


def nibbles(values: Array) -> bytes:
    flat = np.pad(values.ravel(), (0, values.size % 2)).astype(np.uint8) & 15
    return (flat[0::2] | flat[1::2] << 4).tobytes()


@pytest.mark.parametrize("shape", [(4, 6), (3, 5)])
def test_constants_of_4_bits_are_read_as_int8(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(-8, 8, shape)
    net = Net()
    x, weights = net.input(2, shape[1]), net.weights(values)
    graph = net.graph(net.op("FULLY_CONNECTED", [x, weights, -1], (2, shape[0])))
    content = rewritten(graph, weights, nibbles(values), None)
    assert model.read_bytes(content) == graph
    inputs = random_inputs(graph, 0)
    np.testing.assert_array_equal(run_reference(graph, inputs)[0], run_content(content, graph, inputs)[0])


BYTE = np.dtype(np.int8)


def test_a_cycle_is_refused() -> None:
    tensors = [Tensor(name, (1,), BYTE) for name in "abc"]
    with pytest.raises(ModelError, match=r"operator 0 ADD: nothing computes its input, tensor 2"):
        Graph(tuple(tensors), (Op("ADD", (0, 2), (1,)), Op("ADD", (1, 1), (2,))), (0,), (2,))


def test_an_output_that_nothing_computes_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing computes tensor 0"):
        Graph((Tensor("a", (1,), BYTE),), (), (), (0,))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"shape": (-1,)}, "impossible shape"),
        ({"shape": (2**20, 2**20)}, "impossible shape"),
        ({"shape": (1,) * 9}, "9 dimensions"),
        ({"dtype": "complex64"}, "no type complex64"),
        ({"scale": [float("nan")]}, "not a positive number"),
        ({"scale": [0.0]}, "not a positive number"),
        ({"scale": [1.0], "zero_point": [200]}, "zero point does not fit"),
        ({"scale": [1.0, 1.0]}, "2 scales on axis 0"),
        ({"scale": [1.0], "zero_point": [1, 2]}, "1 scales and 2 zero points"),
        ({"data": np.zeros(4, np.int8)}, "data"),
    ],
)
def test_a_wrong_tensor_cannot_be_made(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Tensor(**{"name": "t", "shape": (3,), "dtype": "int8", **facts})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("CONV_3", {}, "no operator is called CONV_3"),
        ("CONV_2D", {"padding": "SAME", "stride_w": 0, "stride_h": 1}, "stride_w must be at least 1"),
        ("CONV_2D", {"padding": "UPSIDE"}, "padding cannot be 'UPSIDE'"),
        ("SOFTMAX", {"gamma": 1.0}, "SOFTMAX has no option 'gamma'"),
        ("SOFTMAX", {"beta": float("nan")}, "beta cannot be nan"),
        ("RESHAPE", {"new_shape": [2**40]}, "new_shape cannot be"),
    ],
)
def test_a_wrong_operator_cannot_be_made(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Op(kind, (0,), (1,), options)


def test_an_operator_of_which_nothing_is_known_is_read_but_not_written() -> None:
    graph = model.read_bytes(craft(code=OPERATORS.index("STABLEHLO_ADD")))
    assert graph.ops[0].kind == "STABLEHLO_ADD"
    with pytest.raises(ModelError, match="operator 0 STABLEHLO_ADD: its options are unknown"):
        model.write(graph)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.tflite", Path("/dev/zero")):
        with pytest.raises(ModelError, match=str(path)):
            model.read(path)


def test_every_real_model_is_read_and_written(shared: Path) -> None:
    paths = sorted((shared / "data/models").glob("*.tflite"))
    assert paths
    for path in paths:
        graph = model.read(path)
        assert model.read_bytes(model.write(graph)) == graph


@pytest.mark.parametrize(
    "name", ["mlperf_kws_ref_model", "openmv_blazeface_front_128", "mlperf_vww_96_float"]
)
def test_written_files_are_the_same_to_the_interpreter(name: str, shared: Path) -> None:
    path = shared / f"data/models/{name}.tflite"
    graph = model.read(path)
    inputs = random_inputs(graph, 0)
    expected = run_content(path.read_bytes(), graph, inputs)
    for one, other in zip(expected, run_reference(graph, inputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_invalid_model_is_refused_with_its_reason(shared: Path) -> None:
    path = shared / "data/models/coral_invalid_model_invoking_error.tflite"
    with pytest.raises(ModelError, match=r"fake-op-double.*custom one that no engine has"):
        engine.load(path)


def test_names_in_a_damaged_file_say_nothing_to_a_terminal() -> None:
    tensors = [Tensor(name, (4,), np.dtype(np.int8), np.array([0.1]), np.array([0])) for name in "xy"]
    content = model.write(Graph(tuple(tensors), (Op("CUSTOM:a\nb\x1b[31m", (0,), (1,)),), (0,), (1,)))
    told = [message for place in range(len(content)) if (message := refusal_of(content, place))]
    assert any(r"operator 0 CUSTOM:a\nb\u001b[31m" in message for message in told)
    assert all(message.isprintable() and message.count("file.tflite") == 1 for message in told)


def refusal_of(content: bytes, place: int) -> str | None:
    """Why a file with one byte changed is refused; None if it is not."""
    damaged = bytearray(content)
    damaged[place] ^= 0x70
    try:
        model.read_bytes(bytes(damaged), "file.tflite")
    except ModelError as error:
        return str(error)
    return None


def test_damaged_files_end_as_a_plan_or_an_error_and_take_no_more_than_they_hold() -> None:
    cases = 2_000 if "EDGEKIT_PYTHON" in os.environ else 20_000  # an emulated CPU takes its time
    outcome = fuzz(cases, 1, None, every=cases // 400)
    assert min(outcome.counts["graph"], outcome.counts["refused"]) > cases // 20
    assert outcome.counts["plan"] > 10  # of 400
    assert outcome.largest_ratio < 4


def test_real_models_truncated_or_fuzzed_are_refused_or_read(shared: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("coral_invalid_model_invoking_error", "openmv_fomo_face_detection"):
        data = (shared / f"data/models/{name}.tflite").read_bytes()
        for size in range(0, len(data), max(64, len(data) // 4096 * 64)):
            assert read_or_refuse(data[:size]) is None
        for _ in range(50):
            read_or_refuse(mutate(data, rng))
