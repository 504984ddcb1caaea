"""Data sets: splits that never overlap, the same on every machine, and clear refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.data import DataSet, Split, load, make
from edgebench.data.arrays import from_arrays
from edgebench.data.digits import _written
from edgebench.data.one_class import check_told
from edgebench.data.split import held_out_last, stratified
from edgebench.errors import DataError, EdgebenchError, PlanError
from edgebench.given import data_set


def two_sentences(error: EdgebenchError) -> None:
    assert error.problem.endswith(".")
    assert error.fix
    assert "Traceback" not in str(error)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load("digits", {}, Path())


def arrays(**more: Any) -> dict[str, Any]:
    random, n, kinds = np.random.RandomState(0), 40, 3
    made = {
        "x_train": random.rand(n, 1, 4, 4),
        "y_train": np.arange(n) % kinds,
        "x_eval": random.rand(10, 1, 4, 4),
        "y_eval": np.arange(10) % kinds,
    }
    return {**made, **more}


def rows(split: Split) -> set[bytes]:
    return {row.tobytes() for row in split.inputs}


def test_digits_are_split_for_good(digits: DataSet) -> None:
    assert (len(digits.train), len(digits.calibration), len(digits.evaluation)) == (1147, 200, 450)
    assert digits.train.inputs.shape[1:] == (1, 32, 32)
    assert digits.train.inputs.dtype == np.float32
    assert digits.classes == tuple("0123456789")
    for split, share in ((digits.evaluation, 45), (digits.calibration, 20)):
        assert split.labels is not None
        assert set(np.bincount(split.labels)) <= {share - 2, share - 1, share, share + 1}
    assert abs(digits.train.inputs.mean()) < 0.05
    assert abs(digits.train.inputs.std() - 1) < 0.1


def test_the_digits_of_the_splits_do_not_overlap(digits: DataSet) -> None:
    train, calibration, evaluation = map(rows, (digits.train, digits.calibration, digits.evaluation))
    assert not train & calibration
    assert not train & evaluation
    assert not calibration & evaluation
    assert len(train | calibration | evaluation) == 1797


def test_digits_are_the_same_every_time_and_other_sizes_are_other_data(digits: DataSet) -> None:
    assert load("digits", {"size": 32}, Path()).sha256 == digits.sha256
    small = load("digits", {"size": 16}, Path())
    assert small.train.inputs.shape[1:] == (1, 16, 16)
    assert small.sha256 != digits.sha256


def test_digits_are_read_without_the_library_that_they_come_with_and_are_its_own() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    assert np.array_equal(_written(), np.column_stack([theirs.data, theirs.target]))
    code = "import sys; from pathlib import Path; from edgebench.data import load; load('digits', {}, Path())"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('sklearn' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sizes": 32}, 'Did you mean "size"'),
        ({"size": 20}, "multiple of 8"),
        ({"size": "32"}, "cannot be '32'"),
        ({"size": True}, "cannot be True"),
    ],
)
def test_options_of_digits_are_checked(options: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match) as caught:
        load("digits", options, Path())
    two_sentences(caught.value)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    seed=st.integers(0, 9),
)
def test_stratified_deals_every_index_once_and_every_class_in_proportion(
    sizes: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels = np.random.RandomState(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)
    counts = tuple(int(len(labels) * share) for share in shares)
    parts = stratified(labels, counts, seed)
    assert tuple(map(len, parts[:2])) == counts
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    wanted = np.array(sizes) * counts[0] / len(labels)
    assert (abs(np.bincount(labels[parts[0]], minlength=len(sizes)) - wanted) < 1).all()


@given(sizes=st.lists(st.integers(2, 30), min_size=1, max_size=5), share=st.floats(0, 0.9), seed=st.integers(0, 9))
def test_the_last_of_each_class_are_held_out_and_every_index_is_dealt_once(
    sizes: list[int], share: float, seed: int
) -> None:
    random = np.random.RandomState(seed)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)
    names = [f"{i:03}" for i in random.permutation(len(labels))]
    evaluation, calibration, train = held_out_last(labels, names, share, 1, seed)
    assert sorted(np.concatenate([evaluation, calibration, train])) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        held_out = [names[i] for i in evaluation if labels[i] == label]
        others = [names[i] for i in (*calibration, *train) if labels[i] == label]
        assert len(held_out) == round(size * share)
        assert not held_out or not others or min(held_out) > max(others)


def test_npz_is_read_and_calibration_is_set_aside(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", **arrays())
    data = load("my.npz", {"calibration": 5}, tmp_path)
    assert (data.name, len(data.train), len(data.calibration), len(data.evaluation)) == ("my", 35, 5, 10)
    assert not rows(data.train) & rows(data.calibration)
    assert data.classes == ("0", "1", "2")
    assert data.train.labels is not None
    for row, label in zip(data.train.inputs, data.train.labels, strict=True):
        at = int(np.flatnonzero((arrays()["x_train"].astype(np.float32) == row).all((1, 2, 3)))[0])
        assert label == at % 3


@pytest.mark.parametrize(
    ("samples", "asked", "found"),
    [(200, 0, 20), (200, 30, 30), (200, 150, 100), (3000, 0, 200), (3000, 500, 500), (9, 0, 1), (2, 0, 1)],
)
def test_a_tenth_is_set_aside_to_calibrate_on_unless_a_number_is_asked_for(
    samples: int, asked: int, found: int, tmp_path: Path
) -> None:
    x = np.random.RandomState(0).rand(samples + 2, 3)
    np.savez(tmp_path / "my.npz", x_train=x[2:], x_eval=x[:2])
    data = load("my.npz", {"calibration": asked} if asked else {}, tmp_path)
    assert (len(data.calibration), len(data.train)) == (found, samples - found)


def test_calibration_samples_cannot_be_fewer_than_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", **arrays())
    with pytest.raises(PlanError, match=r"cannot be -1") as caught:
        load("my.npz", {"calibration": -1}, tmp_path)
    two_sentences(caught.value)


def test_a_data_set_of_samples_that_differ_is_cut_as_ever() -> None:
    assert from_arrays("mine", arrays(), 5).sha256.startswith("e4c87e0b880d133a")
    x = np.random.RandomState(1).rand(40, 1, 4, 4).astype(np.float32)
    assert from_arrays("bench", {"x": x, "labels": np.arange(40) % 3}).sha256.startswith("5b2e5155c1e718ef")


@pytest.mark.parametrize(
    "times", [[2] * 30, [1] * 20 + [9, 9], [1] + [30], [30] + [1], [7, 7, 7], [3, 1, 1, 1] * 6], ids=str
)
def test_copies_land_on_one_side_of_a_split_that_is_made_here(times: list[int]) -> None:
    x = np.random.RandomState(1).rand(len(times), 1, 4, 4).astype(np.float32)
    of = np.random.RandomState(2).permutation(np.repeat(np.arange(len(times)), times))
    some = {"x_train": x[of], "y_train": of % 3, "x_eval": arrays()["x_eval"], "y_eval": arrays()["y_eval"]}
    made = from_arrays("mine", some, 10)
    assert len(made.train) + len(made.calibration) == len(of)
    assert not rows(made.train) & rows(made.calibration)
    assert 1 <= len(made.calibration) <= max(10, min(times))
    assert len(made.calibration) <= len(of) // 2
    assert made.sha256 == from_arrays("mine", some, 10).sha256
    for split in (made.train, made.calibration):
        assert split.labels is not None
        for row, label in zip(split.inputs, split.labels, strict=True):
            assert label == int(np.flatnonzero((x == row).all((1, 2, 3)))[0]) % 3
    dealt = from_arrays("bench", {"x": x[of].astype(float), "labels": of % 3})
    assert len(dealt.calibration) + len(dealt.evaluation) == len(of)
    assert 1 <= len(dealt.calibration) <= max(len(of) // 5, min(times))


def test_copies_on_one_side_of_the_cut_leave_it_where_it_is() -> None:
    made = from_arrays("mine", arrays(), 5)
    twin = int(np.flatnonzero([row.tobytes() in rows(made.train) for row in arrays()["x_train"].astype(np.float32)])[0])
    other = int(
        np.flatnonzero([row.tobytes() in rows(made.train) for row in arrays()["x_train"].astype(np.float32)])[1]
    )
    some = arrays()
    some["x_train"][other] = some["x_train"][twin]
    assert np.array_equal(from_arrays("mine", some, 5).calibration.inputs, made.calibration.inputs)


def test_samples_that_are_all_equal_cannot_be_cut() -> None:
    same = {"x": np.ones((8, 3)), "labels": np.arange(8) % 2}
    for alike in (arrays(x_train=np.ones((40, 1, 4, 4))), same):
        with pytest.raises(
            DataError, match=r"samples of \w+ in mine are all equal.*Give samples that differ"
        ) as caught:
            from_arrays("mine", alike)
        two_sentences(caught.value)
    extra = np.random.RandomState(9).rand(6, 1, 4, 4)
    assert len(from_arrays("mine", arrays(x_train=np.ones((40, 1, 4, 4)), x_calib=extra)).train) == 40


def test_a_sample_of_both_given_splits_is_never_called_one_to_calibrate_on() -> None:
    for place in range(40):
        some = arrays()
        some["x_eval"][3] = some["x_train"][place]
        with pytest.raises(DataError, match="1 evaluation samples of mine are also training samples"):
            from_arrays("mine", some)


def test_given_calibration_samples_are_used_as_they_are() -> None:
    extra = np.random.RandomState(9).rand(6, 1, 4, 4)
    data = from_arrays("mine", arrays(x_calib=extra))
    assert len(data.train) == 40
    assert np.array_equal(data.calibration.inputs, extra.astype(np.float32))
    assert data.calibration.labels is None


def test_a_set_to_evaluate_a_trained_network_needs_no_training_samples() -> None:
    some = arrays(x_calib=np.random.RandomState(9).rand(6, 1, 4, 4))
    data = from_arrays("mine", {k: v for k, v in some.items() if not k.endswith("train")})
    assert len(data.train) == 0


@pytest.mark.parametrize(("first", "second"), [("x_train", "x_eval"), ("x_calib", "x_eval"), ("x_calib", "x_train")])
def test_a_sample_in_two_splits_is_refused(first: str, second: str) -> None:
    given_arrays = arrays(x_calib=np.random.RandomState(9).rand(6, 1, 4, 4))
    given_arrays[first][1] = given_arrays[second][0]
    with pytest.raises(DataError, match=r"1 .* samples of mine are also .* samples") as caught:
        from_arrays("mine", given_arrays)
    two_sentences(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"x_evl": 1}, 'Did you mean "x_eval"'),
        ({"x_eval": np.zeros((0, 1, 4, 4))}, "has no samples"),
        ({"x_eval": np.zeros(16)}, "has one axis.*a single sample"),
        ({"x_train": np.zeros((1, 1, 4, 4)), "y_train": np.zeros(1, int)}, "one sample in x_train"),
        ({"y_eval": np.arange(9)}, "does not label x_eval"),
        ({"y_eval": np.arange(10) - 1}, "y_eval of mine holds -1, which is no class: labels are whole numbers from 0"),
        ({"y_eval": np.zeros(10)}, "no classes.*whole numbers from 0 up.*leave the y out"),
        ({"z_eval": np.zeros((10, 3))}, 'array "z_eval" beside its x and y.*one input.*edgebench bench'),
        ({"x_eval": (np.zeros((10, 3)), np.zeros((10, 4)))}, "x_eval of mine is 2 arrays.*edgebench bench"),
        ({"x_train": np.full((40, 1, 4, 4), np.nan)}, "not finite"),
        ({"x_train": np.array([["a"] * 4] * 40)}, "cannot be used"),
        ({"x_eval": np.random.RandomState(5).rand(10, 3, 4, 4)}, "differ in shape"),
        ({"classes": ["a", "b"]}, "go up to 2, but it has 2 classes"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        from_arrays("mine", arrays(**change))
    two_sentences(caught.value)


def test_a_set_without_evaluation_is_refused() -> None:
    with pytest.raises(DataError, match=r"has no x_eval"):
        from_arrays("mine", {"x_train": np.zeros((4, 2))})
    none = Split(np.zeros((0, 2), np.float32), None)
    one = Split(np.ones((1, 2), np.float32), None)
    with pytest.raises(DataError, match=r"no calibration samples"):
        make("mine", one, none, one)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays(classes=np.array([{"a": 1}], object)))
    with pytest.raises(DataError, match=r"cannot be read as .npz") as caught:
        load("bad.npz", {}, tmp_path)
    two_sentences(caught.value)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("none.npz", "There is no file"),
        ("none", "There is no data at"),
        ("none.tar.gz", "There is no folder or archive"),
        ("broken.npz", "cannot be read as .npz"),
        ("notes.txt", "no kind of data"),
        ("nowhere:make", "does not import: ModuleNotFoundError"),
        ("mine:make_it", 'Did you mean "make"'),
        ("mine:wrong", "returned an int"),
        ("mine:breaks", "raised KeyError"),
        (":x", "no python entry"),
        ("./mine.py:make", 'Write it as "mine:make"'),
        ("torn:make", r"SyntaxError.* Mend \S+torn\.py, and try"),
        ("needy:make", r"No module named 'nosuch'.* Mend \S+needy\.py, and try"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_two_sentences(source: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "torn.py").write_text("def make(:")
    (tmp_path / "needy.py").write_text("import nosuch")
    (tmp_path / "mine.py").write_text("def make(): return {}\ndef wrong(): return 3\ndef breaks(): return {}['gone']\n")
    with pytest.raises(DataError, match=match) as caught:
        load(source, {}, tmp_path)
    two_sentences(caught.value)


def test_a_python_entry_gives_arrays_and_takes_options(tmp_path: Path) -> None:
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\n"
        "def make(n=8):\n"
        "    x = np.random.RandomState(0).rand(n + 4, 3)\n"
        "    return dict(x_train=x[:n], y_train=[0, 1] * (n // 2), x_eval=x[n:], y_eval=[0, 1, 0, 1])\n"
    )
    data = load("my_data:make", {"n": 20}, tmp_path)
    assert (len(data.train), len(data.calibration), len(data.evaluation)) == (18, 2, 4)
    with pytest.raises(DataError, match=r"raised TypeError"):
        load("my_data:make", {"m": 20}, tmp_path)


def test_a_source_can_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "my.npz", **arrays())
    monkeypatch.setenv("MY_DATA", str(tmp_path / "my.npz"))
    assert load("$MY_DATA", {"calibration": 5}, Path()).sha256 == load("my.npz", {"calibration": 5}, tmp_path).sha256
    monkeypatch.setenv("MY_DATA", str(tmp_path / "gone.tar.gz"))
    with pytest.raises(DataError, match=r"no folder or archive .*gone.tar.gz"):
        load("$MY_DATA", {}, Path())
    for empty in (lambda: monkeypatch.setenv("MY_DATA", ""), lambda: monkeypatch.delenv("MY_DATA")):
        empty()
        with pytest.raises(DataError, match=r"variable MY_DATA, .* is not set\..*MY_DATA=pictures.tar.gz") as caught:
            load("$MY_DATA", {}, Path())
        two_sentences(caught.value)


def test_the_module_beside_this_plan_is_the_one_that_is_meant(tmp_path: Path) -> None:
    for name, size in (("one", 3), ("two", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same_name.py").write_text(
            f"import numpy as np\ndef make(): return dict(x_eval=np.eye({size})[:2], x_calib=np.eye({size})[2:3])\n"
        )
    assert load("same_name:make", {}, tmp_path / "one").evaluation.inputs.shape == (2, 3)
    assert load("same_name:make", {}, tmp_path / "two").evaluation.inputs.shape == (2, 5)
    assert load("same_name:make", {}, tmp_path / "one").evaluation.inputs.shape == (2, 3)


def test_samples_and_labels_as_bench_takes_them_are_a_data_set(tmp_path: Path) -> None:
    x = np.random.RandomState(1).rand(40, 1, 4, 4).astype(np.float32)
    np.savez(tmp_path / "bench.npz", images=x, labels=np.arange(40) % 3)
    made = load("bench.npz", {}, tmp_path)
    assert (len(made.train), len(made.calibration), len(made.evaluation)) == (0, 8, 32)
    np.testing.assert_array_equal(made.evaluation.inputs, x[8:])
    assert made.evaluation.labels is not None
    np.testing.assert_array_equal(made.evaluation.labels, (np.arange(40) % 3)[8:])


@pytest.mark.parametrize("labelled", [True, False])
def test_copies_in_a_file_of_samples_land_on_one_side(labelled: bool, tmp_path: Path) -> None:
    x = np.random.RandomState(1).rand(10, 4)[np.arange(40) % 10]
    np.savez(tmp_path / "bench.npz", x=x, **({"labels": np.arange(40) % 10} if labelled else {}))
    made = data_set(str(tmp_path / "bench.npz"))
    assert (len(made.calibration), len(made.evaluation)) == (8, 32)
    assert not rows(made.calibration) & rows(made.evaluation)
    assert (made.evaluation.labels is not None) == labelled


def test_samples_of_two_inputs_are_not_a_data_set_of_one() -> None:
    with pytest.raises(DataError, match="2 inputs: a plan compresses networks of one input"):
        from_arrays("two", {"a": np.zeros((4, 2)), "b": np.zeros((4, 3)), "labels": np.arange(4)})


def test_what_is_no_archive_is_not_answered_with_advice_about_pickles(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"it is no .npz archive, or is damaged") as caught:
        load("text.npz", {}, tmp_path)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"), [("int64", "int64"), ("int32", "int32"), ("uint8", "float32"), ("float64", "float32")]
)
def test_tokens_stay_whole_numbers_and_all_else_is_float32(given: str, kept: str) -> None:
    x = np.arange(40).reshape(10, 4).astype(given)
    made = from_arrays("mine", {"x_calib": x[:4], "x_eval": x[4:]})
    assert [str(s.inputs.dtype) for s in (made.train, made.calibration, made.evaluation)] == [kept] * 3
    assert (made.evaluation.inputs == x[4:]).all()


def test_one_class_without_a_name_is_told_by_its_number() -> None:
    x, seven = np.random.RandomState(0).rand(9, 3).astype(np.float32), np.full(4, 7)
    data = make("mine", Split(x[:4], seven), Split(x[4:5], None), Split(x[5:], seven))
    with pytest.raises(DataError, match=r"labels of the data set mine are all of one class, 7,") as caught:
        check_told(data)
    two_sentences(caught.value)
    check_told(make("mine", Split(x[:4], np.arange(4)), Split(x[4:5], None), Split(x[5:], seven)))
    check_told(make("mine", Split(x[:0], None), Split(x[4:5], None), Split(x[5:], seven)))
