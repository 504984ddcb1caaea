"""Networks from python entries, weights from safetensors, and never anything from a pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compress_helpers import ENTRY, OPTIONS, SPEC, network, stripes
from safetensors.torch import save_file
from torch import nn

from edgebench.codec import Options
from edgebench.compress.load_model import check_fit, load_module, macs, read_safetensors, tensor
from edgebench.errors import ModelError
from edgebench.schema import ModelSpec


def spec(source: str = ENTRY, weights: str | None = None, **options: object) -> ModelSpec:
    return ModelSpec(name="n", source=source, weights=weights, options=Options(options) if options else OPTIONS)


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def number(): return 3\n"
        "made = nn.Flatten()\n"
        "def half(): return nn.Flatten().append(1)\n"
        "class Pair(nn.Module):\n"
        "    def forward(self, x): return x, x\n"
        "class Mean(nn.Module):\n"
        "    def forward(self, x): return x.mean()\n"
        "def double(): return nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).double()\n"
    )
    return tmp_path


def test_a_network_without_weights_starts_from_the_seed() -> None:
    first, again, other = (tuple(load_module(SPEC, Path(), seed=seed).parameters()) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    assert not load_module(SPEC, Path()).training


def test_weights_are_loaded(tmp_path: Path) -> None:
    state = {k: torch.full_like(v, 2) for k, v in network().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    made = load_module(spec(weights="w.safetensors"), tmp_path)
    assert all(torch.equal(v, state[k]) for k, v in made.state_dict().items())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("stem.0.weight"), "stem.0.weight is missing"),
        (lambda s: s.update(more=torch.ones(1)), "more is not known"),
        (lambda s: s.update({"classifier.bias": torch.ones(4)}), r"classifier.bias is \[4\] there and \[3\] here"),
        (lambda s: [s.pop(k) for k in list(s)[:3]], "is missing, and 2 more"),
    ],
)
def test_weights_that_do_not_fit_name_the_key(change: object, match: str, tmp_path: Path) -> None:
    state = dict(network().state_dict())
    change(state)  # type: ignore[operator]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=match):
        load_module(spec(weights="w.safetensors"), tmp_path)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.bin", "w.safetensors", "weights"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_whatever_its_name(name: str, zipped: bool, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"is a pickle.*save_file\(torch.load\(") as caught:
        load_module(spec(weights=name), tmp_path)
    assert name in caught.value.fix


@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "cannot be read: No such file"), (b"", "no safetensors file"), (b"x" * 99, "no safetensors")],
)
def test_weights_that_cannot_be_read(content: bytes | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=match):
        load_module(spec(weights="w.safetensors"), tmp_path)


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_a_header_whose_length_looks_like_a_pickle_is_none(length: int, tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "w.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    assert read_safetensors(tmp_path / "w.safetensors")["w"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("nowhere:net", "does not import: ModuleNotFoundError"),
        ("nets:nmber", 'Did you mean "number"'),
        ("nets:number", "returned an int, no torch.nn.Module"),
        ("nets:made", r"nets:made is a network already.* def make\(\): return made\."),
        ("nets:half", "raised AttributeError"),
        ("nets", "no python entry"),
    ],
)
def test_an_entry_that_gives_no_network(source: str, match: str, nets: Path) -> None:
    with pytest.raises(ModelError, match=match):
        load_module(ModelSpec(name="n", source=source), nets)


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (spec(classes=3, in_channels=3, width=4), r"does not take inputs of shape \[1, 12, 12\]: RuntimeError"),
        (spec(classes=2, in_channels=1, width=4), r"answers \[2\] per sample, but stripes has 3 classes"),
        (ModelSpec(name="n", source="nets:Pair"), "answers 2 samples with tuple"),
        (ModelSpec(name="n", source="nets:Mean"), r"with \[\], not with one tensor of 2 rows"),
    ],
)
def test_a_network_that_does_not_fit_the_data(made: ModelSpec, match: str, nets: Path) -> None:
    with pytest.raises(ModelError, match=match):
        check_fit(load_module(made, nets), stripes(), "classify")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("return self.absent(x)", r"AttributeError.*at odd\.py:5, \"return self\.absent\(x\)\"\. Mend that line"),
        ("return x.reshape(2, 7)", r"run on inputs of shape \[1, 12, 12\]: RuntimeError: shape.*at odd\.py:5"),
        (
            "return nn.functional.embedding(x, torch.zeros(9, 9))",
            r"wants whole numbers.*samples are float32.*x\.long\(\)",
        ),
    ],
)
def test_what_a_network_raises_is_told_with_the_line_of_its_author(line: str, match: str, tmp_path: Path) -> None:
    text = f"import torch\nfrom torch import nn\nclass Odd(nn.Module):\n    def forward(self, x):\n        {line}\n"
    (tmp_path / "odd.py").write_text(text)
    model = load_module(ModelSpec(name="n", source="odd:Odd"), tmp_path)
    with pytest.raises(ModelError, match=match):
        check_fit(model, stripes(), "classify")


def test_a_network_that_fits_passes_and_doubles_become_floats(nets: Path) -> None:
    check_fit(network(), stripes(), "classify")
    double = load_module(ModelSpec(name="n", source="nets:double"), nets)
    check_fit(double, stripes(), "classify")
    wide = load_module(spec(classes=2, in_channels=1, width=4), nets)
    check_fit(wide, stripes(), "embed")


def test_a_read_only_array_becomes_a_tensor() -> None:
    array = stripes().evaluation.inputs.copy()
    array.flags.writeable = False
    assert torch.equal(tensor(array), torch.from_numpy(array.copy()))


def test_a_transformer_of_torch_costs_its_layers_and_its_attention() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
    tokens = 9
    of_a_layer = tokens * 16 * (3 * 16 + 16 + 2 * 32) + 2 * tokens * tokens * 16
    assert macs(encoder, torch.zeros(1, tokens, 16)) == 2 * of_a_layer
    assert torch.backends.mha.get_fastpath_enabled()


def test_recurrences_and_products_with_a_vector_are_counted() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.query = nn.LSTM(8, 16, batch_first=True), nn.Parameter(torch.ones(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0] @ self.query

    assert macs(Pooled(), torch.zeros(1, 5, 8)) == 5 * 4 * 16 * (8 + 16) + 5 * 16
