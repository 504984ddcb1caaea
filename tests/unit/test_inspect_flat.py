"""Flatbuffers without generated code, and ExecuTorch files by it: against the flatbuffers package itself."""

from __future__ import annotations

import struct
from pathlib import Path

import flatbuffers
import pytest

from edgebench.errors import ModelError
from edgebench.inspect import pte_file
from edgebench.inspect.flat import root


def built() -> bytes:
    """A table: a number, a text, a list of numbers, a table with a number."""
    builder = flatbuffers.Builder(64)
    builder.StartObject(1)
    builder.PrependInt64Slot(0, -5, 0)
    inner = builder.EndObject()
    text = builder.CreateString("naïve")
    builder.StartVector(4, 3, 4)
    for value in (30, 20, 10):
        builder.PrependInt32(value)
    numbers = builder.EndVector()
    builder.StartObject(5)
    builder.PrependInt16Slot(0, 7, 0)
    builder.PrependUOffsetTRelativeSlot(1, text, 0)
    builder.PrependUOffsetTRelativeSlot(2, numbers, 0)
    builder.PrependUOffsetTRelativeSlot(3, inner, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def test_every_kind_of_field_is_read() -> None:
    table = root(built())
    assert table.number(0, "<h") == 7
    assert table.text(1) == "naïve"
    assert table.numbers(2) == [10, 20, 30]
    inner = table.table(3)
    assert inner is not None
    assert inner.number(0, "<q") == -5


def test_a_field_that_is_not_there_has_its_default() -> None:
    table = root(built())
    assert table.number(4, "<i", 9) == 9
    assert table.number(40, "<i") == 0
    assert table.table(4) is None
    assert table.tables(4) == []


def test_no_damage_goes_further_than_the_errors_it_says() -> None:
    whole = built()
    for cut in range(len(whole)):
        for damaged in (whole[:cut], whole[:cut] + b"\xff" * (len(whole) - cut)):
            try:
                table = root(damaged)
                table.text(1)
                table.numbers(2)
                table.table(3)
            except (struct.error, IndexError, ValueError):
                continue


def test_a_foreign_file_is_no_pte(tmp_path: Path) -> None:
    for content in (b"hello world", b"\0\0\0\0ET12", b"\x08\0\0\0ET12" + b"\xff" * 64):
        path = tmp_path / "model.pte"
        path.write_bytes(content)
        with pytest.raises(ModelError):
            pte_file.read(path, {})
