"""Engines and their streams in several threads at once, in forked processes, and after they were closed."""

from __future__ import annotations

import os
import threading
from random import Random
from typing import Any

import numpy as np
import pytest
from nets import Net, random_inputs
from numpy.typing import NDArray
from picture_nets import picture_net, with_float_ends

from edgekit import engine, plan
from edgekit.engine import NativeEngine
from edgekit.errors import ModelError
from edgekit.model.graph import Graph
from edgekit.plan import batch


def network(seed: int = 5, *, real: bool = False) -> Graph:
    made = picture_net(Random(seed), 9)
    return plan.prepare(with_float_ends(made) if real else made)


def run_often(loaded: NativeEngine, inputs: list[NDArray[Any]], wrong: list[str]) -> None:
    expected = [output.tobytes() for output in loaded.run(inputs)]
    for _ in range(40):
        same = [output.tobytes() for output in loaded.run(inputs)] == expected
        wrong += [] if same else [loaded.runtime]


def test_engines_and_streams_run_at_once() -> None:
    wrong: list[str] = []
    threads = []
    for seed in (5, 6):
        graph = network(seed)
        first = NativeEngine(graph, 2)
        single = NativeEngine(graph).run(random_inputs(graph, seed))
        for number, loaded in enumerate((first, first.stream(), first.stream(), NativeEngine(graph, 4))):
            inputs = random_inputs(graph, seed if number == 0 else number)
            threads.append(threading.Thread(target=run_often, args=(loaded, inputs, wrong)))
        np.testing.assert_array_equal(first.run(random_inputs(graph, seed))[0], single[0])
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_with_the_engine() -> None:
    graph = network()
    loaded, inputs = NativeEngine(graph, 4), random_inputs(graph, 0)
    expected = [output.tobytes() for output in loaded.run(inputs)]
    child = os.fork()
    if child == 0:
        same = all([o.tobytes() for o in loaded.run(inputs)] == expected for _ in range(5))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [output.tobytes() for output in loaded.run(inputs)] == expected


def test_a_closed_engine_says_so() -> None:
    graph = network()
    loaded = NativeEngine(graph)
    other, inputs = loaded.stream(), random_inputs(graph, 0)
    loaded.close()
    for use in (lambda: loaded.run(inputs), lambda: loaded.profile(inputs), loaded.stream):
        with pytest.raises(ValueError, match="the engine is closed"):
            use()
    assert len(other.run(inputs)) == len(loaded.outputs)


def test_strided_inputs_are_taken_as_they_read() -> None:
    graph = network()
    loaded, (x, *rest) = NativeEngine(graph), random_inputs(graph, 0)
    wide = np.repeat(x, 2, axis=2)
    for strided in (wide[:, :, ::2], np.asfortranarray(x)):
        np.testing.assert_array_equal(loaded.run([strided, *rest])[0], loaded.run([x, *rest])[0])


def test_wrong_inputs_are_refused() -> None:
    graph = network(real=True)
    loaded, (x, *rest) = NativeEngine(graph), random_inputs(graph, 0)
    hole = x.copy()
    hole.reshape(-1)[0] = np.nan
    for wrong in (x[:, :-1], x.astype(np.float64), x.astype(np.int8), hole, hole * np.inf, x.tolist()):
        with pytest.raises(ValueError, match=r"takes|not finite"):
            loaded.run([wrong, *rest])
    with pytest.raises(ValueError, match="inputs, not"):
        loaded.run([x, x, x, x])


def single_images() -> list[Graph]:
    nets = [picture_net(Random(seed), 6) for seed in range(60)]
    return [net for net in nets if net.tensors[net.inputs[0]].shape[0] == 1]


def test_a_batch_gives_what_its_images_give_one_by_one() -> None:
    compared = 0
    for graph in single_images():
        try:
            three = batch.batched(graph, 3)
        except ModelError:
            continue
        images = [random_inputs(graph, seed) for seed in range(3)]
        loaded = engine.load_graph(graph, "one")
        single = [loaded.run(image) for image in images]
        together = engine.load_graph(three, "three").run(
            [np.concatenate(x) for x in zip(*images, strict=True)]
        )
        for place, output in enumerate(together):
            np.testing.assert_array_equal(output, np.concatenate([one[place] for one in single]))
        compared += 1
    assert compared > 10


def test_what_mixes_the_images_of_a_batch_is_named() -> None:
    net = Net()
    x = net.input(1, 4)
    graph = net.graph(net.op("CONCATENATION", [x, x], (2, 4), axis=0))
    with pytest.raises(ModelError, match="has no first axis of 1 to put a batch on"):
        batch.batched(graph, 2)
    net = Net()
    x = net.input(1, 4)
    graph = net.graph(net.transpose(net.op("RESHAPE", [x, net.constant([1, 1, 4])], (1, 1, 4)), 1, 0, 2))
    with pytest.raises(ModelError, match="operator 1 TRANSPOSE does not keep the images of a batch apart"):
        batch.batched(graph, 2)
