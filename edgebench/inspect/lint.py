"""For which targets is an ONNX file legal, and why not: each runtime's own rules for operators and for QDQ.

Sources: onnxruntime's QDQ selectors (QDQIsInt8Allowed: signed activations fuse on ARM only) and its advice on u8 and s8
without VNNI ("reduce_range", in its page on quantization), OpenVINO's ONNX front end (no
QOperator files), and TensorRT's parser (onnx-tensorrt: docs/operators.md, QuantDequantLinearHelper; strongly typed networks).
A rule that costs speed, not correctness, is a warning: the file is legal and slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgebench.inspect import full_weights
from edgebench.inspect.full_weights import DYNAMIC
from edgebench.inspect.qdq import Facts

QOPERATOR = {"QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid"}
QOPERATOR |= {"QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearSoftmax"}
NOT_IN_TENSORRT = {
    "BitShift", "Compress", "ConcatFromSequence", "ConvInteger", "Det", "DynamicQuantizeLinear", "MatMulInteger",
    "MaxRoiPool", "MaxUnpool", "Multinomial", "NegativeLogLikelihoodLoss", "QLinearConv", "QLinearMatMul",
    "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringNormalizer", "TfIdfVectorizer", "Unique",
}  # fmt: skip
NO_DOUBLE = {
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Conv", "ConvTranspose", "Cosh", "Det", "Erf",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Hardmax", "InstanceNormalization", "LRN", "LpPool", "Mean",
    "NonZero", "RNN", "Sinh", "Tan",
}  # fmt: skip
"""What ONNX Runtime's CPU has no float64 kernel of in any opset. Of Elu, LeakyRelu, PRelu and their like it has none either, but
puts smaller operators in their place in some opsets."""
MOST_AXES = 8
"""nvinfer1::Dims::MAX_DIMS."""
TYPED_OPSET = 19
"""From here on QuantizeLinear and DequantizeLinear take float16."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason. `fatal`: the target refuses the file. Else it takes it, and is `slow` on it or needs something more."""

    text: str
    fatal: bool = True
    slow: bool = False


Rule = Callable[[Facts], Iterator[Finding]]


def check(facts: Facts, target: str) -> tuple[Finding, ...]:
    """All that a target has against a graph, the fatal reasons first; () for a target without rules of its own."""
    found = [finding for rule in RULES.get(target, ()) for finding in rule(facts)]
    return tuple(sorted(found, key=lambda finding: not finding.fatal))


def some(names: list[str], limit: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _many(names: list[str], one: str, more: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else more}"


def _foreign(facts: Facts, allowed: str = "") -> Iterator[Finding]:
    strange = [name for name in facts.foreign if not allowed or not name.startswith(allowed)]
    if strange:
        yield Finding(text=f"operators of another domain: {some(strange)}")


def _onnxruntime_foreign(facts: Facts) -> Iterator[Finding]:
    yield from _foreign(facts, "com.microsoft.")


def _strings(facts: Facts) -> Iterator[Finding]:
    wrong = sorted(v.name for v in facts.graph.input if facts.dtypes.get(v.name) == "string")
    if wrong:
        yield Finding(text=f"takes text: {some(wrong)}")
    made = sorted(v.name for v in facts.graph.output if facts.dtypes.get(v.name) == "string")
    if made:
        yield Finding(text=f"gives text: {some(made)}")


def _double(facts: Facts) -> Iterator[Finding]:
    found = [
        f"{n.op_type} {n.name or n.output[0]}"
        for n in facts.graph.node
        if n.op_type in NO_DOUBLE and n.input and facts.dtypes.get(n.input[0]) == "float64"
    ]
    if found:
        yield Finding(text=f"no kernels for float64: {some(found)}")


def _signed_activations(facts: Facts) -> Iterator[Finding]:
    signed = sorted({p.name for p in facts.activations if p.dtype == "int8"})
    if signed:
        yield Finding(
            text=f"{_many(signed, 'activation quantizer is', 'activation quantizers are')} signed (int8):"
            " x86 kernels fuse unsigned ones only",
            fatal=False,
            slow=True,
        )


def _channel_activations(facts: Facts) -> Iterator[Finding]:
    wide = sorted({p.name for p in facts.activations if p.scales > 1})
    if wide:
        yield Finding(text=f"activations with a scale a channel do not fuse: {some(wide)}", fatal=False, slow=True)


def _full_weights(facts: Facts) -> Iterator[Finding]:
    full = full_weights.of(facts)
    if full:
        yield Finding(
            text=f"{_many(full, 'weight fills', 'weights fill')} 8 bits: right on a processor with VNNI;"
            " without, kernels can overflow (make the file with weight_bits = 7)",
            fatal=False,
        )


def _free_int8_batch(facts: Facts) -> Iterator[Finding]:
    """Seen with OpenVINO 2026.4 on AVX2: 89 % agreement with ONNX Runtime where it is free, 99.5 % where it is fixed."""
    dims = [v.type.tensor_type.shape.dim for v in facts.graph.input if v.name not in facts.stored]
    if facts.int8_weights and any(d and not d[0].HasField("dim_value") for d in dims):
        yield Finding(
            text="int8 with a free batch: OpenVINO 2026.4 can answer wrongly on a processor without VNNI"
            " (edgebench fixes the batch; elsewhere, reshape the model before it is compiled)",
            fatal=False,
        )


def _dynamic_is_slow(facts: Facts) -> Iterator[Finding]:
    if "ConvInteger" in facts.ops:
        yield Finding(text="ConvInteger (dynamic int8) is slower than a float convolution", fatal=False, slow=True)


def _half_is_cast(facts: Facts) -> Iterator[Finding]:
    if "float16" in facts.floats:
        yield Finding(text="float16 layers are cast to float32 and back on a CPU", fatal=False, slow=True)


def _qoperator(facts: Facts) -> Iterator[Finding]:
    found = sorted(facts.ops & QOPERATOR)
    if found:
        yield Finding(text=f"quantized operators (QOperator form) instead of QDQ: {some(found)}")


def _openvino_dynamic(facts: Facts) -> Iterator[Finding]:
    found = sorted(facts.ops & (DYNAMIC - {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}))
    if found:
        yield Finding(text=f"ONNX Runtime's own operators: {some(found)}")


def _clip_between(facts: Facts) -> Iterator[Finding]:
    clips = [
        n.name or n.output[0]
        for n in facts.graph.node
        if n.op_type == "Clip"
        and (maker := facts.makers.get(n.input[0])) is not None
        and maker.op_type == "QuantizeLinear"
    ]
    if clips:
        yield Finding(
            text=f"Clip between a quantizer and its dequantizer keeps layers in float: {some(clips)}",
            fatal=False,
            slow=True,
        )


def _tensorrt_operators(facts: Facts) -> Iterator[Finding]:
    found = sorted(facts.ops & NOT_IN_TENSORRT)
    if found:
        yield Finding(text=f"operators that its parser does not have: {some(found)}")


def _unsigned(facts: Facts) -> Iterator[Finding]:
    found = [p.name for p in facts.pairs if p.dtype == "uint8"]
    if found:
        yield Finding(
            text=f"{_many(found, 'quantizer is', 'quantizers are')} uint8, and it takes int8 only: {some(found)}"
        )


def _int32_dequantizer(facts: Facts) -> Iterator[Finding]:
    found = [p.name for p in facts.pairs if p.dtype == "int32" and p.op == "DequantizeLinear"]
    if found:
        yield Finding(text=f"{_many(found, 'bias is', 'biases are')} int32, and it takes float ones: {some(found)}")


def _zero_points(facts: Facts) -> Iterator[Finding]:
    signed = [p for p in facts.pairs if p.dtype == "int8"]
    found = [p.name for p in signed if p.zero is not None and p.zero.any()]
    if found:
        yield Finding(text=f"zero points other than 0 (it is symmetric only): {some(found)}")


def _wide_activations(facts: Facts) -> Iterator[Finding]:
    found = [p.name for p in facts.activations if p.scales > 1]
    if found:
        yield Finding(text=f"activations must have one scale a tensor: {some(found)}")


def _scales(facts: Facts) -> Iterator[Finding]:
    computed = [p.name for p in facts.pairs if p.scale is None]
    if computed:
        yield Finding(text=f"scales must be constants: {some(computed)}")
    wrong = [p.name for p in facts.pairs if p.scale is not None and not (p.scale > 0).all()]
    if wrong:
        yield Finding(text=f"scales must be above 0: {some(wrong)}")


def _typed(facts: Facts) -> Iterator[Finding]:
    mixed = any(len({facts.dtypes.get(i, "") for i in n.input[:2]} & {"float16", "float32"}) > 1 for n in facts.layers)
    if mixed:
        yield Finding(text="a layer has float16 and float32 operands: networks are typed, cast one of them")
    if facts.pairs and "float16" in facts.floats and facts.opset < TYPED_OPSET:
        yield Finding(text=f"float16 beside quantizers needs opset {TYPED_OPSET}, and this is {facts.opset}")
    if any("float64" in facts.dtypes.get(i, "") for n in facts.layers for i in n.input[:2]):
        yield Finding(text="layers in float64, which it does not have")


def _many_axes(facts: Facts) -> Iterator[Finding]:
    found = sorted(name for name, shape in facts.shapes.items() if shape and len(shape) > MOST_AXES)
    if found:
        yield Finding(text=f"tensors of more than {MOST_AXES} axes: {some(found)}")


def _free_axes(facts: Facts) -> Iterator[Finding]:
    free = [
        v.name
        for v in facts.graph.input
        if v.name not in facts.stored
        and any(not d.HasField("dim_value") or d.dim_value < 0 for d in v.type.tensor_type.shape.dim)
    ]
    if free:
        yield Finding(text=f"free axes need an optimization profile, or a fixed shape: {some(free)}", fatal=False)


X86 = (
    _onnxruntime_foreign,
    _double,
    _signed_activations,
    _full_weights,
    _channel_activations,
    _dynamic_is_slow,
    _half_is_cast,
)
RULES: Mapping[str, tuple[Rule, ...]] = {
    "onnxruntime on x86": X86,
    "onnxruntime on arm64": (_onnxruntime_foreign, _double, _channel_activations, _dynamic_is_slow),
    "openvino": (_foreign, _strings, _qoperator, _openvino_dynamic, _clip_between, _full_weights, _free_int8_batch),
    "tensorrt": (
        _foreign, _strings, _tensorrt_operators, _unsigned, _int32_dequantizer, _zero_points, _wide_activations,
        _scales, _typed, _many_axes, _free_axes,
    ),
}  # fmt: skip
"""The rules of each target that opens ONNX files. A target is a backend, or one on a kind of processor."""
