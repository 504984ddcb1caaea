"""From a typed ONNX file to a plan: parse, configure, build, keep. Works without a GPU where the product does (TensorRT-RTX)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgebench.backend import EdgebenchError, ModelError
from edgebench_tensorrt import plan_file
from edgebench_tensorrt.api import Line, TrtApi, complaint
from edgebench_tensorrt.asked import Asked

WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")
NAMED = 12
"""So many nodes of a network that cannot be taken are named; the rest is counted."""


def cached(api: TrtApi, source: Path, asked: Asked, here: Mapping[str, Any], memory: int = 0) -> Path:
    """The plan of this ONNX file for this place, from the cache or built now. `memory`: bytes free where it will run."""
    place = {name: here.get(name, "") for name in plan_file.PLACE}
    key = plan_file.key(onnx=_sha256(source), asked=asked.of_engine(), **place)
    folder = plan_file.cache_folder()
    plan = folder / key / "model.plan"
    if plan.exists():
        with suppress(ModelError):
            plan_file.load(plan)
            return plan
    name = plan_file.key(**place)[:16]
    content, facts = build(api, source, asked, memory=memory, timing=folder / f"timing-{name}.cache")
    plan_file.save(plan, content, {**here, **facts, "onnx_sha256": _sha256(source), "asked": asked.of_engine()})
    return plan


def build(
    api: TrtApi, source: Path, asked: Asked, *, memory: int = 0, timing: Path | None = None
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the plan, and what is to be known of it. Raises ModelError or EdgebenchError in TensorRT's words."""
    with api.listening() as lines:
        builder = _builder(api, lines)
        network = builder.create_network(api.network_flags())
        kept = _parse(api, network, source)
        config = builder.create_builder_config()
        flags = api.set_precision(config, asked.precision)
        config.profiling_verbosity = api.trt.ProfilingVerbosity.DETAILED  # or the engine cannot say what it runs
        workspace = asked.workspace << 20 or memory // 2
        if workspace:
            config.set_memory_pool_limit(api.trt.MemoryPoolType.WORKSPACE, workspace)
        if asked.optimization_level >= 0:
            api.set_level(config, asked.optimization_level)
        if asked.compute_capability:
            api.set_target(config, asked.compute_capability)
        shapes = _profile(builder, network, config, asked)
        on_dla = _dla(api, builder, network, config, asked) if asked.dla >= 0 else {}
        cache = _timing_cache(config, timing)
        made = builder.build_serialized_network(network, config)
        if made is None:
            raise _unbuildable(api, source, lines)
        _keep_timings(config, timing, cache)
        del kept
    return bytes(made), {
        "precision": asked.precision, "flags": flags, "typed": api.typed, "shapes": shapes, "workspace": workspace,
        "layers": network.num_layers, **on_dla, **_told(lines),
    }  # fmt: skip


def _builder(api: TrtApi, lines: list[Line]) -> Any:
    try:
        return api.trt.Builder(api.logger)
    except TypeError as error:  # "factory function returned nullptr": what pybind says for no GPU
        raise EdgebenchError(
            f"{api.product} {api.version} cannot build engines here: {complaint(lines) or error}.",
            "Run it on a machine with an NVIDIA driver and GPU.",
        ) from error


def _parse(api: TrtApi, network: Any, source: Path) -> tuple[Any, bytes]:
    """Fill the network. What is returned holds the weights, and must live until the engine is built."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror}.", "Check the path.") from error
    if not content:
        raise ModelError(f"{source} is empty.", "Export the model again.")
    parser = api.trt.OnnxParser(network, api.logger)
    # With its path, for weights that lie in files beside it.
    if parser.parse(content, str(source)) and network.num_outputs:
        return parser, content
    found = api.parser_errors(parser, _nodes(content))
    named = [f"{kind or 'the graph'} {name!r}: {words}" if name or kind else words for name, kind, words in found]
    if not any(kind for _, kind, _ in found):
        raise ModelError(
            f"{api.product} cannot read {source}: {'; '.join(named)[:400] or 'it has no outputs'}.",
            "Export it again: a whole ONNX file, its weights within or beside it.",
        )
    more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
    raise ModelError(
        f"{api.product} {api.version} cannot take {len(named)} node(s) of {source.name}: {'; '.join(named[:NAMED])}{more}.",
        "Write these in operators that TensorRT has, or leave it out for this network.",
    )


def _profile(builder: Any, network: Any, config: Any, asked: Asked) -> dict[str, list[int]]:
    """Fix the free batch axis to 1 ... most, tuned for the batch asked for; returns the input shapes.

    Raises ModelError for other free axes and for a network of another fixed batch.
    """
    profile, free, shapes = builder.create_optimization_profile(), False, {}
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = [int(d) for d in tensor.shape]
        if -1 in shape[1:]:
            raise ModelError(
                f"Input {tensor.name!r} has free axes besides the batch: {['any' if d < 0 else d for d in shape]}.",
                "Export the network with these sizes fixed.",
            )
        if shape and shape[0] == -1:
            free = True
            # Tuned for one size only, unless a greater one was asked for: an engine for a range is slower at each of it.
            least = 1 if asked.max_batch else asked.batch
            profile.set_shape(tensor.name, *([n, *shape[1:]] for n in (least, asked.batch, asked.most)))
            shape[0] = asked.batch
        elif len(shape) > 1 and shape[0] != asked.batch:
            raise ModelError(
                f"The network is fixed to a batch of {shape[0]}, and {asked.batch} was asked for.",
                f"Ask for batch {shape[0]}, or export the network with a free batch axis.",
            )
        shapes[tensor.name] = shape
    if free:
        config.add_optimization_profile(profile)
    return shapes


def _dla(api: TrtApi, builder: Any, network: Any, config: Any, asked: Asked) -> dict[str, Any]:
    """Put what can run there on the DLA. Raises EdgebenchError without that core, ModelError below the share asked for."""
    cores = max(builder.num_DLA_cores, 0)
    if asked.dla >= cores:
        raise EdgebenchError(
            f"DLA core {asked.dla} was asked for, and {api.product} {api.version} finds {cores} here.",
            "Leave dla out: Orin and Xavier boards have cores, and some versions of TensorRT cannot use them.",
        )
    config.default_device_type = api.trt.DeviceType.DLA
    config.DLA_core = asked.dla
    config.set_flag(api.trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    refused = [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
    share = 1 - len(refused) / max(len(layers), 1)
    if share < asked.dla_share:
        some = ", ".join(refused[:5])
        raise ModelError(
            f"The DLA takes {share:.0%} of the layers, less than dla_share = {asked.dla_share:.0%}: not {some}.",
            "Use fp16 or int8 and operators that it has, or lower dla_share.",
        )
    return {"dla_layers_share": share, "dla_refused": refused[:50]}


def _timing_cache(config: Any, path: Path | None) -> Any:
    content = path.read_bytes() if path and path.exists() else b""
    cache = config.create_timing_cache(content)
    if cache is not None and not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")  # of another version or GPU, in spite of its name
        config.set_timing_cache(cache, False)
    return cache


def _keep_timings(config: Any, path: Path | None, cache: Any) -> None:
    """Save what the builder timed, so that the next engine of this place is built faster, and alike."""
    if path is not None and cache is not None:
        plan_file.write(path, bytes(config.get_timing_cache().serialize()))


def _told(lines: list[Line]) -> dict[str, Any]:
    """What the log alone says: the bytes of the weights, tactics left out for lack of memory, warnings."""
    weights = [int(m[1]) for line in lines if (m := WEIGHTS.search(line.text))]
    return {
        **({"weights_bytes": weights[-1]} if weights else {}),
        "skipped_tactics": sum("Skipping tactic" in line.text for line in lines),
        "warnings": list(dict.fromkeys(line.text[:300] for line in lines if line.level == "warning"))[:20],
    }


def _unbuildable(api: TrtApi, source: Path, lines: list[Line]) -> EdgebenchError:
    words = complaint(lines) or "no further word"
    if re.search(r"out ?of ?memory", words, re.IGNORECASE):
        fix = "Close other programs, or set workspace to fewer MiB."
    else:
        fix = "Build it at another precision, or leave TensorRT out for this network."
    return ModelError(f"{api.product} {api.version} cannot build {source.name}: {words.rstrip('.')}.", fix)


def _sha256(source: Path) -> str:
    """Of the file and of weights that exporters put beside it."""
    total = hashlib.sha256()
    for path in (source, source.with_name(source.name + ".data"), source.with_suffix(".data")):
        with suppress(OSError):
            total.update(path.read_bytes())
    return total.hexdigest()


def _nodes(content: bytes) -> list[tuple[str, str]]:
    """Name and operator of each node, for versions whose parser gives an index only; [] without the onnx package."""
    try:
        import onnx

        return [(node.name, node.op_type) for node in onnx.load_from_string(content).graph.node]
    except Exception:
        return []
