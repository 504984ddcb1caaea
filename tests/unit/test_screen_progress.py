"""What the bars on the screen say of a training, at the width of a small window."""

from __future__ import annotations

import io
import sys

import pytest

from edgebench.cli import screen

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


def test_hours_minutes_and_seconds() -> None:
    assert [screen._clock(s) for s in (0.4, 42, 725, 3600, 3725.2)] == ["0:00", "0:42", "12:05", "1:00:00", "1:02:05"]
