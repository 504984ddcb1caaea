"""The arithmetic of `edgebench inspect`: peaks of activations, MACs, what counts as a weight. Pure."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgebench.inspect import layers
from edgebench.inspect.graph import Network, Node, Tensor, arena, product
from edgebench.schema import TensorSpec


def floats(*shape: int | None) -> Tensor:
    return Tensor(dtype="float32", shape=shape)


def node(op: str, inputs: str, outputs: str, **more: bool) -> Node:
    return Node(op=op, name="", inputs=tuple(inputs.split()), outputs=tuple(outputs.split()), **more)


def test_a_chain_holds_two_neighbours_at_once() -> None:
    tensors = {"x": floats(10), "a": floats(100), "b": floats(30), "y": floats(1)}
    chain = [node("A", "x", "a"), node("B", "a", "b"), node("C", "b", "y")]
    assert arena(chain, tensors, ["x"], ["y"]) == 4 * (100 + 30)


def test_a_skip_connection_is_alive_until_it_is_added() -> None:
    tensors = {"x": floats(10), "a": floats(10), "b": floats(10), "y": floats(10)}
    block = [node("A", "x", "a"), node("B", "a", "b"), node("Add", "b x", "y")]
    assert arena(block, tensors, ["x"], ["y"]) == 4 * 30
    chain = [node("A", "x", "a"), node("B", "a", "b"), node("C", "b", "y")]
    assert arena(chain, tensors, ["x"], ["y"]) == 4 * 20


def test_an_output_stays_to_the_end() -> None:
    tensors = {"x": floats(1), "early": floats(50), "y": floats(10)}
    order = [node("A", "x", "early"), node("B", "x", "y")]
    assert arena(order, tensors, ["x"], ["early", "y"]) == 4 * 61


def test_a_view_takes_no_memory_of_its_own() -> None:
    tensors = {"x": floats(8, 8), "flat": floats(64), "y": floats(1)}
    order = [node("Reshape", "x", "flat", fuses=True), node("A", "flat", "y")]
    assert arena(order, tensors, ["x"], ["y"]) == 4 * 65


def test_a_quantizer_fuses_unless_the_float_tensor_has_another_reader() -> None:
    tensors = {
        "x": floats(100),
        "q": Tensor(dtype="int8", shape=(100,)),
        "d": floats(100),
        "y": floats(1),
        "z": floats(1),
    }
    order = [node("Q", "x", "q", fuses=True), node("DQ", "q", "d", fuses=True), node("A", "d", "y")]
    assert arena(order, tensors, ["x"], ["y"]) == 100 + 4
    assert arena([*order, node("B", "x", "z")], tensors, ["x"], ["y", "z"]) == 400 + 100 + 4


def test_constants_are_no_activations_and_an_unknown_size_is_no_figure() -> None:
    tensors = {"x": floats(10), "w": Tensor(dtype="float32", shape=(1000,), constant=True), "y": floats(10)}
    assert arena([node("A", "x w", "y")], tensors, ["x"], ["y"]) == 80
    assert arena([node("A", "x w", "y")], {**tensors, "y": floats(None)}, ["x"], ["y"]) is None


def test_a_second_output_that_nobody_reads_does_not_spoil_the_figure() -> None:
    tensors = {"x": floats(10), "y": floats(10), "mask": Tensor(dtype="", shape=None)}
    assert arena([node("Dropout", "x", "y mask")], tensors, ["x"], ["y"]) == 80


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12))
def test_a_peak_lies_between_the_greatest_pair_and_the_sum(sizes: list[int]) -> None:
    tensors = {f"t{i}": floats(size) for i, size in enumerate([1, *sizes])}
    chain = [node("A", f"t{i}", f"t{i + 1}") for i in range(len(sizes))]
    found = arena(chain, tensors, ["t0"], [f"t{len(sizes)}"])
    pairs = [a + b for a, b in zip([1, *sizes], sizes, strict=False)]
    assert found == 4 * max(pairs)


def test_macs_by_hand() -> None:
    assert layers.convolution((1, 16, 32, 32), (3, 3, 3)) == 16 * 32 * 32 * 27
    assert layers.convolution((1, 16, 32, 32), (1, 3, 3)) == 16 * 32 * 32 * 9  # depthwise
    assert layers.transposed_convolution((1, 8, 4, 4), (5, 2, 2)) == 8 * 16 * 20
    assert layers.matrix((1, 65, 192), 192) == 65 * 192 * 192
    assert layers.attention((1, 3, 65, 64), 65, 64) == 3 * 65 * 65 * 64 * 2
    assert layers.convolution((1, None, 32, 32), (3, 3, 3)) is None


def test_bits_are_packed_into_bytes() -> None:
    assert Tensor(dtype="int4", shape=(3,)).nbytes == 2
    assert Tensor(dtype="strange", shape=(3,)).nbytes is None
    assert product(()) == 1
    assert product(None) is None


def test_what_a_network_is_made_of() -> None:
    spec = (TensorSpec(name="x", dtype="float32", shape=(1, 4)),)
    halves = Tensor(dtype="float16", shape=(4, 4), constant=True, weight=True)
    layer = Node(op="Gemm", name="", inputs=("x", "w"), outputs=("y",), macs=16, layer=True)
    network = Network(
        path=Path("a.onnx"), format="onnx", inputs=spec, outputs=spec, tensors={"w": halves}, nodes=[layer]
    )
    assert (network.macs(), network.parameters(), network.layers()) == (16, 16, (0, 1))
    assert network.precision() == "fp16"
    assert network.weights() == {"float16": 32}
