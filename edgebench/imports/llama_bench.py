"""llama.cpp's llama-bench -o json or jsonl: one object a test, speeds in tokens a second.

Fields as in tools/llama-bench/llama-bench.cpp: n_prompt and n_gen name the test, avg_ts and samples_ts its speed.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from edgebench.codec import Options
from edgebench.imports.foreign import Source, figure, loaded, number, row
from edgebench.schema import Cell, Result

NAME = "llama-bench"


def recognizes(source: Source) -> bool:
    tests = _tests(source.text)
    return bool(tests) and "avg_ts" in tests[0] and ("n_prompt" in tests[0] or "n_gen" in tests[0])


def read(source: Source) -> list[Result]:
    """A row for each test: the speed of prompts (pp512) and of generation (tg128) are different things."""
    return [_row(source, test) for test in _tests(source.text) if "avg_ts" in test]


def _tests(text: str) -> list[dict[str, Any]]:
    data = loaded(text)
    if isinstance(data, dict):
        data = [data]
    if data is None:
        data = [loaded(line) for line in text.splitlines() if line.lstrip().startswith("{")]
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def _row(source: Source, test: dict[str, Any]) -> Result:
    prompt, generated = (int(number(test.get(key)) or 0) for key in ("n_prompt", "n_gen"))
    name = "+".join(part for part in (f"pp{prompt}" if prompt else "", f"tg{generated}" if generated else "") if part)
    name += f"@d{test['n_depth']}" if number(test.get("n_depth")) else ""
    said = f"llama-bench, {source.path.name}, test {name}, mean of its repetitions"
    each = test.get("samples_ts")
    speeds = [s for value in each if (s := number(value)) is not None] if isinstance(each, list) else []
    tokens = "token_throughput_prompt" if prompt and not generated else "token_throughput"
    figures = [
        figure(tokens, "1/s", number(test.get("avg_ts")), f"{said}; tokens a second", samples=speeds),
        figure("size", "B", number(test.get("model_size")), f"{said}; size of the weights"),
    ]
    file = PurePosixPath(str(test.get("model_filename") or "").replace("\\", "/")).stem
    where = str(test.get("gpu_info") or test.get("cpu_info") or "").strip()
    threads, layers = number(test.get("n_threads")), number(test.get("n_gpu_layers"))
    kind = str(test.get("model_type") or "").split()
    told = {
        "test": name,
        "gpu_layers": int(layers) if layers is not None else None,
        "flash_attention": test.get("flash_attn"),
    }
    cell = Cell(
        model=source.known.model or file or " ".join(kind) or source.path.stem,
        recipe="as published",
        backend="llama.cpp",
        device=source.known.device or where or "unknown",
        precision=source.known.precision or (kind[2].lower() if len(kind) > 2 else "not named"),
        threads=int(threads) if threads and threads >= 1 else 1,
        options=Options({k: v for k, v in told.items() if v not in (None, "", False)}),
    )
    version = f"{test.get('build_number') or ''} {test.get('build_commit') or ''}".strip()
    return row(cell, figures, source=said, effective={"version": version, "backends": test.get("backends")})
