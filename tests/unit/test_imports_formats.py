"""Other tools' results: small files made by hand in each format, read as published rows; and what is no such file."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench import imports
from edgebench.codec import from_json, to_json
from edgebench.errors import EdgebenchError, StoreError
from edgebench.imports import csv_mapping
from edgebench.imports.foreign import Known, Source
from edgebench.schema import Result

TINY_PERFORMANCE = """\
00511.250 ulp-mlperf: Performance results for window 2:
00511.250 ulp-mlperf:   # Inferences :          100
00511.250 ulp-mlperf:   Runtime      :       16.500 sec.
00511.250 ulp-mlperf:   Throughput   :        6.061 inf./sec.
00511.251 ulp-mlperf: Performance results for window 4:
00511.251 ulp-mlperf:   # Inferences :          100
00511.251 ulp-mlperf:   Runtime      :       16.700 sec.
00511.251 ulp-mlperf: Median throughput is 6.000 inf./sec.
"""
TFLITE = """\
STARTING!
INFO: Graph: [/data/local/tmp/mobilenet_v1_quant.tflite]
INFO: Num threads: [4]
INFO: Use xnnpack: [1]
INFO: The input model file size (MB): 4.2766
INFO: count=1 curr=35123 p5=35123 median=35123 p95=35123
INFO: count=50 first=12500 curr=12400 min=12380 max=12990 avg=12450.5 std=120 p5=12390 median=12420 p95=12700
INFO: Inference timings in us: Init: 5579, First inference: 35123, Warmup (avg): 35123, Inference (avg): 12450.5
INFO: Memory footprint delta from the start of the tool (MB): init=6.5 overall=12
"""
OLD_TFLITE = """\
STARTING!
Graph: [model.tflite]
count=50 first=249042 curr=250889 min=247067 max=254474 avg=2.49684e+05 std=1442
Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 2.49684e+05
Peak memory footprint (MB): init=4.92969 overall=138.5
"""
BENCHMARK_APP = """\
[ INFO ] Input command: benchmark_app -m net_int8.xml -hint latency
[ INFO ] Model batch size: 2
[ INFO ] Compile model took 52.10 ms
[ INFO ]   OPTIMAL_NUMBER_OF_INFER_REQUESTS: 1
[Step 10/11] Measuring performance (Start inference asynchronously, 1 inference requests, limits: 1000 ms duration)
[ INFO ] First inference took 1.29 ms
[ INFO ] Execution Devices:['CPU']
[ INFO ] Count:            812 iterations
[ INFO ] Latency:
[ INFO ]    Median:        1.21 ms
[ INFO ]    Average:       1.23 ms
[ INFO ] Throughput:   812.10 FPS
"""
LLAMA = {
    "build_commit": "0e4a03622", "build_number": 10154, "cpu_info": "A CPU", "model_filename": "/m/qwen0.5b-q2k.gguf",
    "model_type": "qwen2 1B Q2_K - Medium", "model_size": 332659200, "n_threads": 4, "n_gpu_layers": 0,
}  # fmt: skip


def read(tmp_path: Path, name: str, text: str, form: str | None = None, **more: object) -> tuple[Result, ...]:
    (tmp_path / name).write_text(text)
    found = imports.read(tmp_path / name, form, **more).results  # type: ignore[arg-type]
    for result in found:
        assert from_json(Result, json.loads(json.dumps(to_json(result)))) == result
        assert all(m.grade == "published" and name in m.source for m in result.measurements if name.startswith("t"))
        assert all(m.grade == "published" for m in result.measurements)
    return found


def values(result: Result) -> dict[str, float | None]:
    return {m.metric: m.value for m in result.measurements}


def submission(root: Path) -> Path:
    base = root / "closed/Maker"
    for kind, text in (
        ("performance", TINY_PERFORMANCE),
        ("accuracy", "00211.952 ulp-mlperf: Top-1: 87.0%\n00211.967 ulp-mlperf: AUC: 0.98\n"),
        ("energy", "00521.929 ulp-ml: Median energy cost is 6919.375 uJ/inf.\n"),
    ):
        folder = base / "results/BOARD_X/ic" / kind
        folder.mkdir(parents=True)
        (folder / "results.txt").write_text(text)
    (base / "systems").mkdir()
    described = {
        "Submitter": "Maker", "Division": "Closed", "Board Name": "BOARD-X", "Inference Framework": "Their AI v9",
        "Quantization Method": "TensorFlow Int8 Quantization", "Processor(s) Frequencies": "120 MHz",
    }  # fmt: skip
    (base / "systems/BOARD_X.json").write_text(json.dumps(described))
    return base


def test_mlperf_tiny_takes_accuracy_energy_and_the_system_from_beside(tmp_path: Path) -> None:
    (found,) = imports.read(submission(tmp_path)).results
    assert values(found) == pytest.approx(
        {"latency": 1 / 6, "throughput": 6.0, "accuracy": 0.87, "auc": 0.98, "energy_board": 6919.375e-6}
    )
    latency = found.get("latency")
    assert latency is not None
    assert latency.samples == pytest.approx((0.165, 0.167))
    assert (found.cell.device, found.cell.backend, found.cell.precision) == ("BOARD-X", "Their AI v9", "int8")
    assert found.cell.model.startswith("ic")
    assert "Maker, Closed, BOARD_X" in latency.source


def test_one_results_file_of_mlperf_tiny_is_enough(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "results.txt", TINY_PERFORMANCE, known=Known(model="ic", device="x"))
    assert values(found) == pytest.approx({"latency": 1 / 6, "throughput": 6.0})
    assert (found.cell.model, found.cell.device) == ("ic", "x")


def test_trtexec_times(tmp_path: Path) -> None:
    calls = [
        {"startEnqMs": i, "h2dMs": 0.1, "computeMs": 1.0 + i / 1000, "d2hMs": 0.1, "latencyMs": 1.2 + i / 1000}
        for i in range(101)
    ]
    (found,) = read(tmp_path, "t_fp16.json", json.dumps(calls), known=Known(device="orin"))
    got = values(found)
    assert got["latency"] == pytest.approx(1.25e-3)
    assert got["compute"] == pytest.approx(1.05e-3)
    assert 1.29e-3 <= (got["latency_p90"] or 0) <= 1.3e-3
    assert got["latency_p99"] is None
    p99 = found.get("latency_p99")
    assert p99 is not None
    assert p99.note == "n < 662"
    assert (found.cell.backend, found.cell.precision) == ("tensorrt", "fp16")


def test_litert_prints_microseconds_and_mebibytes(tmp_path: Path) -> None:
    new, old = read(tmp_path, "t.log", TFLITE + OLD_TFLITE)
    assert values(new) == pytest.approx(
        {
            "latency": 12420e-6,
            "load": 5579e-6,
            "first_inference": 35123e-6,
            "memory_peak": 12 * 2**20,
            "size": 4276600.0,
        }
    )
    assert (new.cell.model, new.cell.threads, new.cell.precision) == ("mobilenet_v1_quant", 4, "int8")
    assert new.cell.options["delegate"] == "xnnpack"
    assert values(old)["latency"] == pytest.approx(0.249684)
    assert values(old)["memory_peak"] == pytest.approx(138.5 * 2**20)
    latency = old.get("latency")
    assert latency is not None
    assert "mean" in latency.source


def test_benchmark_app_printed(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "t.txt", BENCHMARK_APP)
    assert values(found) == pytest.approx(
        {"latency": 1.21e-3, "throughput": 812.1, "load": 0.0521, "first_inference": 1.29e-3}
    )
    assert (found.cell.model, found.cell.precision, found.cell.batch) == ("net_int8", "int8", 2)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_benchmark_app_files(tmp_path: Path, form: str) -> None:
    options = {"-m": "net.xml"}
    setup = {"target device": "CPU", "API": "async", "batch size": "1", "number of parallel infer requests": "4"}
    found = {
        "compile model time (ms)": "51.20",
        "latency (ms)": "2.50",
        "throughput": "1600.00",
        "total number of iterations": "99",
    }
    text = json.dumps({"cmd_options": options, "configuration_setup": setup, "execution_results": found})
    if form == "csv":
        parts = (("Command line parameters", options), ("Configuration setup", setup), ("Execution results", found))
        text = "".join(f"{title}\n" + "".join(f"{k};{v}\n" for k, v in part.items()) + "\n" for title, part in parts)
    (result,) = read(tmp_path, f"t.{form}", text)
    assert values(result) == pytest.approx({"latency": 2.5e-3, "throughput": 1600.0, "load": 0.0512})
    assert result.cell.options["requests"] == 4
    latency = result.get("latency")
    assert latency is not None
    assert latency.note == "latency of one of 4 requests at once"


@pytest.mark.parametrize("lines", [False, True])
def test_llama_bench(tmp_path: Path, lines: bool) -> None:
    tests = [
        {**LLAMA, "n_prompt": 512, "n_gen": 0, "avg_ts": 299.5, "samples_ts": [299.0, 300.0]},
        {**LLAMA, "n_prompt": 0, "n_gen": 64, "avg_ts": 90.25},
        {**LLAMA, "n_prompt": 0, "n_gen": 64, "avg_ts": 91.25},
    ]
    text = "\n".join(map(json.dumps, tests)) if lines else json.dumps(tests)
    prompt, generation, again = read(tmp_path, "t.jsonl", text)
    assert values(prompt) == {"token_throughput_prompt": 299.5, "size": 332659200.0}
    assert values(generation)["token_throughput"] == 90.25
    assert (prompt.cell.precision, prompt.cell.threads, prompt.cell.options["test"]) == ("q2_k", 4, "pp512")
    assert len({r.cell.id for r in (prompt, generation, again)}) == 3


def test_csv_with_names_like_ours_and_with_a_mapping(tmp_path: Path) -> None:
    text = "model,runtime,device,latency_ms,top1,mem\nnet,rt,board,2.5,91.5,64\nnet,rt2,board,,90,\n"
    maps = ("accuracy=top1:%", "memory_peak=mem:MiB")
    first, second = read(tmp_path, "t.csv", text, maps=maps)
    assert values(first) == pytest.approx({"latency": 2.5e-3, "accuracy": 0.915, "memory_peak": 64 * 2**20})
    assert values(second) == pytest.approx({"accuracy": 0.9})
    assert (first.cell.backend, first.cell.device) == ("rt", "board")


def test_our_own_csv_comes_back(tmp_path: Path) -> None:
    run = Path(__file__).parents[2] / "results/published/local/quick"
    found = read(tmp_path, "t.csv", (run / "table.csv").read_text())
    first = from_json(Result, json.loads((run / "results.jsonl").read_text().splitlines()[0]))
    latency = first.get("latency")
    assert latency is not None
    assert len(found) == 15
    assert values(found[0])["latency"] == latency.value
    assert found[0].cell.recipe == "teacher"


@pytest.mark.parametrize(
    ("name", "text", "maps", "problem"),
    [
        ("a.csv", "x,y\n1,2\n", (), "No column"),
        ("a.csv", "x,y\n1,2\n", ("latency=x",), "unit of the column"),
        ("a.csv", "x,y\n1,2\n", ("latency=z:ms",), 'no column "z"'),
        ("a.csv", "x,y\n1,2\n", ("latency=x:kB",), "no unit of latency"),
        ("a.csv", "x,y\n1,2\n", ("latency",), "is no mapping"),
        ("a.csv", "x,latency_ms\n", (), "has a head line and no row beneath it"),
        ("a.csv", "x,latency_ms\n", ("latency=x:ms",), "has a head line and no row beneath it"),
        ("a.csv", "", (), "is empty"),
        ("a.csv", "\n \n", ("latency=x:ms",), "is empty"),
        ("a.txt", "", (), "is empty"),
        ("a.txt", "nothing of the kind", (), "of no known format"),
        ("a.json", "[", (), "of no known format"),
        ("a.json", "[]", (), "of no known format"),
        ("a.json", '[{"latencyMs": "NaN"}]', (), "holds no result"),
        ("a.json", '[{"latencyMs": 1}]', ("latency=x:ms",), "--map is for CSV"),
    ],
)
def test_what_cannot_be_imported_says_why_and_what_to_do(
    tmp_path: Path, name: str, text: str, maps: tuple[str, ...], problem: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StoreError, match=problem) as caught:
        imports.read(tmp_path / name, maps=maps)
    assert caught.value.fix.endswith((".", "?"))


def test_an_unknown_file_and_an_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text("[]")
    with pytest.raises(StoreError, match=r'Did you mean "times.json"'):
        imports.read(tmp_path / "time.json")
    with pytest.raises(StoreError, match='Did you mean "trtexec"'):
        imports.read(tmp_path / "times.json", "trtexe")


def test_a_line_without_figures_is_a_failed_row_with_its_reason(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "t.csv", "model,latency_ms\na,1\nb,NaN\n")
    assert (good.status, bad.status) == ("ok", "failed")
    assert "line 3" in bad.reason


@settings(max_examples=60)
@given(text=st.text(max_size=300), form=st.sampled_from(sorted(set(imports.FORMATS) - {"mlperf-tiny"})))
def test_any_text_is_read_or_refused(text: str, form: str) -> None:
    source = Source(path=Path("x.csv"), text=text)
    with suppress(EdgebenchError):
        assert all(isinstance(result, Result) for result in imports.FORMATS[form].read(source))


KEYS = ("latencyMs", "avg_ts", "n_prompt", "execution_results", "latency (ms)", "configuration_setup", "model_type")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=80)
@given(value=json_values, form=st.sampled_from(["trtexec", "benchmark_app", "llama-bench"]))
def test_any_json_is_read_or_refused(value: object, form: str) -> None:
    for result in imports.FORMATS[form].read(Source(path=Path("x.json"), text=json.dumps(value))):
        assert isinstance(result, Result)


@given(st.sampled_from(sorted(csv_mapping.UNITS)), st.sampled_from(sorted(csv_mapping.FACTORS)))
def test_a_unit_at_the_end_of_a_name_is_found(metric: str, unit: str) -> None:
    assert csv_mapping._split(f"{metric}_{unit}") == (metric, unit)
