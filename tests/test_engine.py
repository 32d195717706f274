"""Both engines behind the seam: they agree with the interpreter, and refuse what they should."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import convolution, layer, network, random_input, real_convolution

import edgekit
from edgekit import engine, model, plan
from edgekit.engine import interpreter
from edgekit.errors import EdgekitError, ModelError, UsageError
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.tensors import TensorInfo
from edgekit.plan import layout, memory

FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.int8)


def f32(values: Any) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def i64(values: Any) -> NDArray[np.int64]:
    return np.array(values, np.int64)


class Reference:
    """The interpreter with its reference kernels."""

    def __init__(self, graph: Graph) -> None:
        self.runtime, module = interpreter.find_runtime()
        kind, content = module.OpResolverType.BUILTIN_REF, model.write(graph)
        with interpreter.quiet_stderr():
            self.interpreter = module.Interpreter(model_content=content, experimental_op_resolver_type=kind)
            self.interpreter.allocate_tensors()
        self.graph = graph

    @property
    def slack(self) -> int:
        """By how much a byte may differ: tflite-runtime's kernel of fully connected layers rounds twice."""
        return 0 if self.runtime.startswith("ai-edge-litert") else 1

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        self.interpreter.set_tensor(self.graph.inputs[0], x)
        self.interpreter.invoke()
        return np.asarray(self.interpreter.get_tensor(self.graph.outputs[0]))


def save(graph: Graph, path: Path) -> Path:
    path.write_bytes(model.write(graph))
    return path


def check_against_reference(graph: Graph, seeds: range) -> None:
    native, reference = engine.load_graph(graph, "test", "native"), Reference(graph)
    for seed in seeds:
        x = random_input(graph, seed)
        (ours,), theirs = native.run(x), reference.run(x)
        assert ours.shape == theirs.shape
        if ours.dtype == np.int8:
            assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= reference.slack
        elif reference.slack == 0:
            np.testing.assert_array_equal(ours, theirs)


@examples(40)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 80), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
    channels=st.booleans(),
    bias=st.booleans(),
    activation=st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]),
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
)
def test_native_layers_equal_the_reference_kernels(
    sizes: tuple[int, int, int],
    seed: int,
    channels: bool,
    bias: bool,
    activation: str,
    zero_points: tuple[int, int],
) -> None:
    graph = layer(
        *sizes, seed, channels=channels, bias=bias, activation=activation,
        input_zero_point=zero_points[0], output_zero_point=zero_points[1],
    )  # fmt: skip
    check_against_reference(graph, range(3))


def test_ties_are_those_of_the_reference_kernels() -> None:
    """With scales that are powers of two, every other sum lies in the middle between two outputs."""
    weights = np.array([[1, 0], [3, 0], [1, 2]], np.int8)
    graph = Graph(
        (
            Tensor("x", (1, 2), BYTE, f32([1]), i64([0])),
            Tensor("w", (3, 2), BYTE, f32([1]), None, 0, weights),
            Tensor("y", (1, 3), BYTE, f32([2]), i64([0])),
        ),
        (Op("FULLY_CONNECTED", (0, 1), (2,)),),
        (0,),
        (2,),
    )
    native, reference = engine.load_graph(graph, "test", "native"), Reference(graph)
    for value in range(-9, 10):
        x = np.array([[value, value]], np.int8)
        assert np.abs(native.run(x)[0].astype(int) - reference.run(x)).max() <= reference.slack


def test_native_network_with_float_ends_equals_the_reference() -> None:
    check_against_reference(network(), range(20))


def test_quantize_rounds_and_clamps_like_the_reference() -> None:
    tensors = (Tensor("x", (1, 9), FLOAT), Tensor("y", (1, 9), BYTE, f32([0.1]), i64([-7])))
    graph = Graph(tensors, (Op("QUANTIZE", (0,), (1,)),), (0,), (1,))
    native, reference = engine.load_graph(graph, "test", "native"), Reference(graph)
    halves = f32([[0.05, -0.05, 0.15, 0.25, 0.049999997, 0.35, 13.45, -12.05, 0.0]])
    for x in (halves, halves * 1000, np.nextafter(halves, np.float32(9))):
        np.testing.assert_array_equal(native.run(x)[0], reference.run(x))
    huge = np.full((1, 9), 3e38, np.float32)
    assert (native.run(huge)[0] == 127).all()
    assert (native.run(-huge)[0] == -128).all()


def test_real_network_is_bit_equal_to_the_reference(shared: Path) -> None:
    graph = model.read(shared / "data/models/mlperf_ad01_int8.tflite")
    assert plan.refusal(graph) is None
    native, reference = engine.load_graph(graph, "ad01"), Reference(graph)
    assert native.name == "native"
    for seed in range(30):
        x = random_input(graph, seed)
        difference = np.abs(native.run(x)[0].astype(int) - reference.run(x))
        assert difference.max() <= 8 * reference.slack


def test_every_level_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import edgekit._native as native

    x = random_input(network(), 1)
    outputs = {}
    for level in native.known_levels():
        monkeypatch.setenv("EDGEKIT_ISA", level)
        loaded: Any = engine.load_graph(network(), "test", "native")
        assert loaded.level == native.best_level(level)
        assert loaded.runtime == f"edgekit {loaded.level}"
        outputs[level] = loaded.run(x)[0].tobytes()
    assert len(set(outputs.values())) == 1


def test_an_unknown_level_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_ISA", "mmx")
    with pytest.raises(UsageError, match="EDGEKIT_ISA=mmx: expected one of scalar, "):
        engine.load_graph(layer(1, 3, 2), "test")


def test_auto_takes_native_where_it_can(tmp_path: Path) -> None:
    dense, picture = (
        save(network(), tmp_path / "dense.tflite"),
        save(convolution(), tmp_path / "picture.tflite"),
    )
    real = save(real_convolution(), tmp_path / "real.tflite")
    assert edgekit.load(dense).name == "native"
    assert edgekit.load(picture, threads=2).name == "native"
    assert edgekit.load(dense, engine="tflite").name == "tflite"
    assert edgekit.load(real).name == "tflite"
    message = rf"{real}: the native engine cannot run so much float32: 100% .*engine=tflite or auto runs it"
    with pytest.raises(ModelError, match=message):
        edgekit.load(real, engine="native")


def test_tensors_are_described() -> None:
    loaded = engine.load_graph(network(), "test", "tflite")
    assert loaded.inputs == (TensorInfo("image", (2, 10), FLOAT, 1.0, 0),)
    (info,) = engine.load_graph(convolution(), "test").outputs
    assert (info.name, info.shape, info.dtype, info.zero_point) == ("pooled", (1, 1, 1, 8), BYTE, -10)
    assert info.scale == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["native", "tflite"])
def test_a_wrong_input_is_refused(name: str) -> None:
    loaded = engine.load_graph(network(), "test", name)
    good = random_input(network(), 0)
    for wrong, message in (
        (good[:1], r"input 'image' takes float32 \[2, 10\], not float32 \[1, 10\]"),
        (good.astype(np.float64), r"takes float32 \[2, 10\], not float64"),
        ([good, good], "takes 1 inputs, not 2"),
        ([good.tolist()], "not list"),
        (np.where(good > 0, np.nan, good).astype(np.float32), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            loaded.run(wrong)
    turned = np.asfortranarray(good)
    np.testing.assert_array_equal(loaded.run(turned)[0], loaded.run([good])[0])


def test_several_inputs_and_outputs_keep_their_order() -> None:
    tensors = tuple(Tensor(name, (1, 2), FLOAT) for name in ("a", "b", "sum", "difference"))
    ops = (Op("ADD", (0, 1), (2,)), Op("SUB", (0, 1), (3,)))
    loaded = engine.load_graph(Graph(tensors, ops, (1, 0), (3, 2)), "test")
    b, a = f32([[1, 2]]), f32([[10, 20]])
    difference, total = loaded.run([b, a])
    assert (difference.tolist(), total.tolist()) == ([[9, 18]], [[11, 22]])


@pytest.mark.parametrize("name", ["native", "tflite"])
def test_a_single_number_has_no_axis(name: str) -> None:
    tensors = tuple(Tensor(name, shape, FLOAT) for name, shape in (("a", ()), ("b", (2,)), ("c", (2,))))
    loaded = engine.load_graph(Graph(tensors, (Op("ADD", (0, 1), (2,)),), (0, 1), (2,)), "test", name)
    assert loaded.run([f32(3), f32([1, 2])])[0].tolist() == [4, 5]


def test_what_is_empty_need_not_be_computed() -> None:
    """No axes, as of a MEAN that gives what it gets; what would compute something of nothing is refused."""
    shapes: dict[str, tuple[int, ...]] = {"x": (2, 3), "axes": (0,), "y": (2, 3)}
    tensors = [Tensor(name, shape, FLOAT) for name, shape in shapes.items()]
    tensors[1] = replace(tensors[1], dtype=np.dtype(np.int32))
    graph = Graph(tuple(tensors), (Op("MEAN", (0, 1), (2,)),), (0,), (2,))
    x = random_input(graph, 0)
    np.testing.assert_array_equal(engine.load_graph(graph, "test", "native").run(x)[0], x)
    nothing = Graph(
        (
            Tensor("x", (2, 0), FLOAT),
            Tensor("y", (2,), np.dtype(np.int32)),
            Tensor("i", (1,), np.dtype(np.int32), data=np.ones(1, np.int32)),
        ),
        (Op("ARG_MIN", (0, 2), (1,)),),
        (),
        (1,),
    )
    with pytest.raises(ModelError):
        engine.load_graph(nothing, "test", "native")


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_a_layer_without_an_output_is_refused(kind: str) -> None:
    graph = convolution()
    layer = Op(kind, (0, 1, 2), (), {"stride_w": 1, "stride_h": 1})
    broken = replace(graph, ops=(layer,), outputs=(0,))
    with pytest.raises(ModelError, match=f"operator 0 {kind}: 0 outputs"):
        engine.load_graph(broken, "test")


def test_outputs_stay_when_the_engine_runs_again() -> None:
    for name in ("native", "tflite"):
        loaded = engine.load_graph(network(), "test", name)
        (first,) = loaded.run(random_input(network(), 0))
        kept = first.copy()
        loaded.run(random_input(network(), 1))
        np.testing.assert_array_equal(first, kept)


def test_an_engine_that_is_closed_does_not_run() -> None:
    x = random_input(network(), 0)
    for name in ("native", "tflite"):
        loaded = engine.load_graph(network(), "test", name)
        loaded.run(x)
        loaded.close()
        loaded.close()
        with pytest.raises(ValueError, match="the engine is closed"):
            loaded.run(x)
    opened: Any = engine.load_graph(network(), "test", "native")
    other = opened.stream()
    opened.close()
    with pytest.raises(ValueError, match="the engine is closed"):
        opened.stream()
    assert other.run(x)[0].shape == (2, 2, 3)


def test_a_forked_process_goes_on_with_its_engine() -> None:
    loaded, x = engine.load_graph(network(), "test", "native", 2), random_input(network(), 0)
    (expected,) = loaded.run(x)
    child = os.fork()
    if not child:
        same = all(np.array_equal(loaded.run(x)[0], expected) for _ in range(3))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(loaded.run(x)[0], expected)


@pytest.mark.parametrize("wrong", [None, 123, b"model.tflite", ["model.tflite"]])
def test_what_is_no_path_is_said(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"the path of a \.tflite file, not "):
        engine.load(wrong)
    with pytest.raises(UsageError, match=r"the path of a \.tflite file, not "):
        edgekit.open(wrong)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tflite"
    empty.touch()
    for path, message in (
        (empty, "this is not a .tflite file"),
        (tmp_path, "not a file; give the path of a .tflite file"),
        (tmp_path / "none.tflite", "No such file"),
        ("a\0b.tflite", "is no path"),
        ("/dev/null", "not a file"),
    ):
        with pytest.raises(ModelError, match=message):
            engine.load(path)


def test_a_network_without_outputs_is_refused() -> None:
    with pytest.raises(ModelError, match="test: no outputs; such a network computes nothing"):
        engine.load_graph(replace(network(), outputs=()), "test")


def test_what_no_engine_runs_is_not_offered_to_the_other() -> None:
    with pytest.raises(ModelError, match=r"test: the native engine cannot run .*; no engine does"):
        engine.load_graph(WRONG_SHAPE, "test", "native")


@pytest.mark.parametrize(
    ("name", "threads"),
    [("fast", 1), (None, 1), ("auto", 0), ("auto", 65), ("auto", 10**6), ("auto", 1.5), ("auto", True)],
)
def test_wrong_wishes_are_refused(name: Any, threads: Any, tmp_path: Path) -> None:
    path = save(layer(1, 3, 2), tmp_path / "m.tflite")
    with pytest.raises(UsageError, match="expected"):
        engine.load(path, name, threads)


def test_an_unknown_custom_operator_is_named(shared: Path) -> None:
    with pytest.raises(ModelError, match=r"coral_invalid.*operator 0 is 'fake-op-double', a custom one"):
        engine.load(shared / "data/models/coral_invalid_model_invoking_error.tflite")


def test_operators_that_call_subgraphs_are_refused() -> None:
    tensors = (Tensor("x", (1,), FLOAT), Tensor("y", (1,), FLOAT))
    graph = Graph(tensors, (Op("WHILE", (0,), (1,)),), (0,), (1,))
    with pytest.raises(ModelError, match="operator 0 is WHILE, which no engine has"):
        engine.load_graph(graph, "test")


def test_what_the_interpreter_refuses_is_a_model_error() -> None:
    tensors = (Tensor("x", (1, 3), FLOAT), Tensor("y", (1, 3), FLOAT))
    graph = Graph(tensors, (Op("TANH", (0,), (1,), version=99),), (0,), (1,))
    with pytest.raises(ModelError, match=r"test: the interpreter refuses it: .*TANH") as caught:
        engine.load_graph(graph, "test", "tflite")
    assert "\n" not in str(caught.value)


WRONG_SHAPE = replace(
    convolution(),
    tensors=(replace(convolution().tensors[0], shape=(1, 0, 8, 3)), *convolution().tensors[1:]),
)
POSTPROCESS: dict[str, Any] = {
    "max_detections": 4, "max_classes_per_detection": 1, "num_classes": 2, "nms_score_threshold": 0.3,
    "nms_iou_threshold": 0.6, "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def postprocess(options: bytes) -> Graph:
    """The one custom operator that the interpreter has: boxes and scores to detections."""
    anchors = f32([[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]])
    names = ["boxes", "scores", "anchors", "where", "what", "how", "many"]
    shapes = [(1, 2, 4), (1, 2, 3), (2, 4), (1, 4, 4), (1, 4), (1, 4), (1,)]
    data = [anchors if name == "anchors" else None for name in names]
    tensors = [Tensor(n, s, FLOAT, data=d) for n, s, d in zip(names, shapes, data, strict=True)]
    op = Op("CUSTOM:TFLite_Detection_PostProcess", (0, 1, 2), (3, 4, 5, 6), {"bytes": options})
    return Graph(tuple(tensors), (op,), (0, 1), (3, 4, 5, 6))


def test_detection_postprocess_runs() -> None:
    loaded = engine.load_graph(postprocess(bytes(flexbuffers.Dumps(POSTPROCESS))), "test")
    scores = f32([[[0, 0.9, 0.1], [0, 0.1, 0.8]]])
    where, what, how, many = loaded.run([np.zeros((1, 2, 4), np.float32), scores])
    assert many.tolist() == [2]
    assert what[0, :2].tolist() == [0, 1]
    np.testing.assert_allclose(where[0, 0], [0.1, 0.1, 0.3, 0.3], atol=1e-6)
    np.testing.assert_allclose(how[0, :2], [0.9, 0.8], atol=1e-6)


def test_damaged_options_of_a_custom_operator_are_refused() -> None:
    good = bytes(flexbuffers.Dumps(POSTPROCESS))
    wrong = [flexbuffers.Dumps({**POSTPROCESS, "max_detections": value}) for value in (-1, 10**9, "four")]
    for options in (b"", b"\x00\x24\x01", good[:-1], b"\xff" * 40, *map(bytes, wrong)):
        with pytest.raises(ModelError, match="test: TFLite_Detection_PostProcess: damaged options"):
            engine.load_graph(postprocess(options), "test")
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(good)
        broken[int(rng.integers(len(good)))] = int(rng.integers(256))
        with suppress(ModelError):
            engine.load_graph(postprocess(bytes(broken)), "test")


def test_no_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_PACKAGES", {"ai-edge-litert": "no_such_module"})
    with pytest.raises(EdgekitError, match="pip install ai-edge-litert"):
        engine.load_graph(real_convolution(), "test")


_GROWTH = """
import sys
from pathlib import Path
import numpy as np
from edgekit import engine
def kib(line):
    return int(Path("/proc/self/status").read_text().split(line + ":")[1].split()[0])
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
loaded = engine.load(sys.argv[1], "native")
loaded.run([np.zeros(info.shape, info.dtype) for info in loaded.inputs])
print(loaded.peak_memory_bytes // 1024, kib("VmHWM") - before)
"""


@pytest.mark.parametrize(
    "path", sorted(Path(edgekit.__file__).parent.glob("zoo/*/*/*/model.tflite")), ids=str
)
def test_the_memory_that_is_told_is_what_the_process_grows_by(path: Path) -> None:
    if not Path("/proc/self/clear_refs").is_file():
        pytest.skip("the kernel does not say what a process took at its peak")
    if "EDGEKIT_PYTHON" in os.environ:
        pytest.skip("the emulator's own memory counts too")
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(path)], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    told_kib, grown_kib = map(int, done.stdout.split())
    slack_kib = 768  # which pages of code are touched differs between versions of Python and numpy
    assert abs(told_kib - grown_kib) < max(0.05 * grown_kib, slack_kib)


def test_memory_is_estimated_before_anything_is_allocated() -> None:
    small, large = layer(1, 64, 64), layer(1, 1024, 1024)
    assert engine.estimate_memory(large) - engine.estimate_memory(small) >= 1024 * 1024
    assert engine.load_graph(large, "test").peak_memory_bytes == engine.estimate_memory(large)
    for graph in (convolution(), real_convolution()):
        assert engine.estimate_memory(graph) == engine.load_graph(graph, "t").peak_memory_bytes


def test_the_arena_never_holds_two_living_buffers_in_one_place() -> None:
    lives = {0: (40, 0, 1), 1: (44, 0, 3), 2: (48, 1, 2), 3: (52, 2, 3), 4: (56, 3, 5)}
    places, size = layout.arrange(lives)
    assert size == 3 * 64
    for together in ((0, 1), (0, 1, 2), (1, 2, 3), (1, 3, 4)):
        assert len({places[i] for i in together}) == len(together)


def test_what_is_needed_at_once_is_the_least_that_a_runtime_takes() -> None:
    tensors = tuple(Tensor(f"t{i}", (1, 10 + i), FLOAT) for i in range(6))
    ops = (
        Op("ADD", (0, 0), (1,)), Op("ADD", (1, 0), (2,)), Op("ADD", (2, 2), (3,)), Op("ADD", (3, 1), (4,)),
        Op("RESHAPE", (4,), (5,)),
    )  # fmt: skip
    assert memory.peak_live_bytes(Graph(tensors, ops, (0,), (5,))) == (11 + 13 + 14) * 4


def test_a_long_chain_is_refused_or_planned_in_no_time() -> None:
    count = 20000
    tensors = tuple(Tensor("t", (1, 4), FLOAT) for _ in range(count + 1))
    graph = Graph(tensors, tuple(Op("TANH", (i,), (i + 1,)) for i in range(count)), (0,), (count,))
    assert plan.refusal(graph) == f"{count} operators; 4096 are the most"
    assert memory.peak_live_bytes(graph) == 32
    assert layout.arrange({i: (16, i, i + 1) for i in range(4096)})[1] == 128


def test_list_engine_returns_what_it_was_given() -> None:
    info = TensorInfo("x", (2,), BYTE, 0.5, 1)
    outputs = [[f32([1])], [f32([2])]]
    fake = engine.ListEngine([info], outputs)
    x = np.zeros(2, np.int8)
    assert [fake.run(x)[0].tolist(), fake.run([x])[0].tolist()] == [[1], [2]]
    assert fake.outputs[0].shape == (1,)
    assert len(fake.seen) == 2
    with pytest.raises(ModelError, match="no outputs for run 3"):
        fake.run(x)


@pytest.mark.parametrize("wrong", [None, 3, object()])
def test_what_is_no_array_is_said(wrong: Any) -> None:
    with pytest.raises(ValueError, match="takes arrays, not"):
        engine.load_graph(network(), "test").run(wrong)


def test_tensors_beyond_the_reach_of_kernels_are_refused() -> None:
    wide = Tensor("x", (1 << 15, 1 << 15), np.dtype(np.int8), [0.1], [0])  # type: ignore[arg-type]
    ends = tuple(replace(wide, name=name) for name in "xyz")
    graph = Graph(ends, (Op("TANH", (0,), (1,)), Op("RELU", (1,), (2,))), (0,), (2,))
    with pytest.raises(
        ModelError, match=r"^test: its tensors take .* bytes at once; 2147483647 are the most"
    ):
        engine.load_graph(graph, "test", "native")
