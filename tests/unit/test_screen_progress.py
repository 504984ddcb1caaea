"""What the bars on the screen say of a training, at the width of a small window."""

from __future__ import annotations

import io
import sys

import pytest

from edgebench import measure
from edgebench.cli import screen
from edgebench.devices.local import LocalDevice
from edgebench.schema import DeviceProfile

rich_console = pytest.importorskip("rich.console")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns whose clock goes on by two seconds each time that it is read."""
    text = io.StringIO()
    now = [0.0]

    def clock() -> float:
        now[0] += 2
        return now[0]

    made = rich_console.Console(file=text, width=80, force_terminal=True, get_time=clock)
    monkeypatch.setattr(screen, "console", lambda *, err=False: made)
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    return text


def test_a_training_shows_the_time_left_its_loss_and_its_accuracy(shown: io.StringIO) -> None:
    with screen.progress_bars() as progress:
        for step in range(1, 6):
            progress("small: distill", step, 10, f"loss 0.{step}00, accuracy 7{step}.0%, epoch 1/2")
    line = next(row for row in reversed(shown.getvalue().split("\n")) if "loss" in row)
    assert " left, loss 0.500, accu" in line
    assert "small: distill" in line


def test_a_stage_that_says_how_long_it_takes_is_not_corrected(shown: io.StringIO) -> None:
    with screen.progress_bars() as progress:
        for step in range(1, 6):
            progress("measure", step, 10, "about 40 s left: latency")
    assert shown.getvalue().count("left, ") == 0
    assert "about 40 s left: latency" in shown.getvalue()


@pytest.mark.parametrize(("back", "last"), [(False, "link lost, trying again"), (True, "throughput")])
def test_what_a_device_tells_is_shown_and_measuring_comes_back_after_it(
    back: bool, last: str, shown: io.StringIO
) -> None:
    place = LocalDevice(DeviceProfile(name="lab-7"))
    with screen.progress_bars(place) as progress:
        progress("measure", 1, 10, "latency")
        place.tell("link lost, trying again")
        if back:
            progress("measure", 2, 10, "throughput")
    rows = [row for row in shown.getvalue().split("\n") if "lab-7" in row or "measure" in row]
    assert last in rows[-1]


def test_where_there_is_no_terminal_a_device_tells_in_lines_but_not_beside_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for as_json in (False, True):
        place = LocalDevice(DeviceProfile(name="lab-7"))
        with screen.progress_bars(place, as_json=as_json):
            for words in ("bringing 60.0 MB", "bringing 60.0 MB", "checking the runtimes"):
                place.tell(words)
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == ("" if as_json else "lab-7: bringing 60.0 MB\nlab-7: checking the runtimes\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_where_there_is_no_terminal_a_line_now_and_then_says_what_is_done(
    as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 1.0, 16.0, 17.0, 95.0])
    monkeypatch.setattr(measure, "monotonic", lambda: next(now))
    with screen.progress_bars(as_json=as_json) as progress:
        progress("teacher: train", 1, 10, "loss 0.900")
        progress("teacher: train", 2, 10, "loss 0.800")
        progress("teacher: train", 3, 10, "loss 0.700")
        progress("export", 0, 0, "")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("" if as_json else "0:16  teacher: train, 2 of 10, loss 0.800\n1:35  export\n")


def test_hours_minutes_and_seconds() -> None:
    assert [screen._clock(s) for s in (0.4, 42, 725, 3600, 3725.2)] == ["0:00", "0:42", "12:05", "1:00:00", "1:02:05"]
