"""Programs for ExecuTorch: the same bytes each time, nothing said, and refusals that name the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.compress.quantization.quantize import Quantize
from edgebench.errors import DataError, ModelError

torch = pytest.importorskip("torch")
pytest.importorskip("executorch.version")


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, extra: Any = None) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.pool, self.fc, self.extra = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(8, 4), extra

    def forward(self, x: Any) -> Any:
        y = self.fc(self.pool(torch.relu(self.norm(self.conv(x)))).flatten(1))
        return self.extra(y) if self.extra else y


def net(extra: Any = None) -> Any:
    torch.manual_seed(0)
    return Net(extra).eval()


def samples(count: int = 32) -> Any:
    return np.random.default_rng(0).standard_normal((count, 1, 12, 12)).astype(np.float32)


def answer(path: Path, x: Any) -> Any:
    from executorch.extension.pybindings import _C

    return _C._load_program(str(path)).load_method("forward")([torch.from_numpy(x)])[0].numpy()


def test_a_float_program_is_torchs_own_answer_wholly_delegated_silent_and_repeatable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgebench.compress.lowering import lower_executorch

    x = torch.from_numpy(samples(2))
    for name in ("one", "two"):
        facts = lower_executorch.export(net(), x, tmp_path / f"{name}.pte")
        assert (facts["portable_ops"], facts["delegated_share"]) == (0, 1.0)
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.pte", "two.pte"]
    assert (tmp_path / "one.pte").read_bytes() == (tmp_path / "two.pte").read_bytes()
    with torch.no_grad():
        wanted = net()(x[:1]).numpy()
    assert np.abs(answer(tmp_path / "one.pte", samples(1)) - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
def test_int8_is_near_and_covers_every_layer(tmp_path: Path, ranges: Any) -> None:
    from edgebench.compress.lowering import lower_executorch

    path = tmp_path / "net.pte"
    example = torch.from_numpy(samples(2))
    facts = lower_executorch.quantize(net(), example, samples(), Quantize(ranges=ranges), path)
    assert (facts["int8_layers"], facts["layers"], facts["int8_coverage"]) == (2, 2, 1.0)
    with torch.no_grad():
        wanted = net()(example[:1]).numpy()
    error = np.linalg.norm(answer(path, samples(1)) - wanted) / np.linalg.norm(wanted)
    assert 1e-5 < error < 0.2


def test_per_channel_scales_are_another_file(tmp_path: Path) -> None:
    from edgebench.compress.lowering import lower_executorch

    for per_channel in (True, False):
        asked, path = Quantize(per_channel=per_channel), tmp_path / f"{per_channel}.pte"
        lower_executorch.quantize(net(), torch.from_numpy(samples(2)), samples(), asked, path)
    assert (tmp_path / "True.pte").read_bytes() != (tmp_path / "False.pte").read_bytes()


def test_strange_strides_are_put_in_order(tmp_path: Path) -> None:
    from edgebench.compress.lowering import lower_executorch

    given = torch.from_numpy(np.ascontiguousarray(samples(2).transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)
    strange = net().to(memory_format=torch.channels_last)
    lower_executorch.export(strange, given, tmp_path / "strange.pte")
    lower_executorch.export(net(), torch.from_numpy(samples(2)), tmp_path / "plain.pte")
    assert (tmp_path / "strange.pte").read_bytes() == (tmp_path / "plain.pte").read_bytes()
    assert strange.conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (torch.linalg.svdvals, r"aten\._linalg_svd\.default is not in Core ATen"),
        (
            lambda y: y if y.sum() > 0 else -y,
            r"cannot be exported as a graph, because of its module conv \(Conv2d\): GuardOnDataDependentSymNode",
        ),
    ],
)
def test_what_cannot_be_lowered_is_named(tmp_path: Path, extra: Any, words: str) -> None:
    from edgebench.compress.lowering import lower_executorch

    with pytest.raises(ModelError, match=words):
        lower_executorch.export(net(extra), torch.from_numpy(samples(2)), tmp_path / "net.pte")
    assert not list(tmp_path.iterdir())


def test_samples_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    from edgebench.compress.lowering import lower_executorch

    with pytest.raises(DataError, match="all the same"):
        lower_executorch.quantize(
            net(), torch.from_numpy(samples(2)), np.zeros_like(samples()), Quantize(), tmp_path / "net.pte"
        )


def test_a_constant_that_delegates_share_is_counted_once(tmp_path: Path) -> None:
    from edgebench.compress.lowering import lower_executorch
    from edgebench.inspect import look

    class Steps(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = torch.nn.LSTM(8, 64, batch_first=True), torch.nn.Linear(64, 4)

        def forward(self, x: Any) -> Any:
            return self.fc(self.rnn(x)[0][:, -1])

    path = tmp_path / "net.pte"
    lower_executorch.export(Steps().eval(), torch.zeros(2, 5, 8), path)
    network = look(path, "pte")
    own = sum(p.numel() for p in Steps().parameters())
    assert own <= network.parameters() < 1.1 * own
    assert sum(network.weights().values()) < network.size
