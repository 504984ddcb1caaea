"""Pruning hits its budget, keeps what must stay, and can be written down and built again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import ENTRY, OPTIONS, context, network, stripes
from torch import nn

from edgebench.codec import Options
from edgebench.compress import checkpoint
from edgebench.compress.context import Architecture
from edgebench.compress.load_model import load_module, macs, tensor
from edgebench.compress.pruning.prune import Prune
from edgebench.errors import ModelError
from edgebench.schema import ModelSpec

EXAMPLE = tensor(stripes().evaluation.inputs[:4])


def test_multiply_accumulates_are_counted_as_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(400, 3)
    )
    assert macs(net, EXAMPLE[:1]) == 144 * 4 * 9 + 100 * 4 * 9 + 400 * 3


@pytest.mark.parametrize("importance", ["l1", "l2", "lamp", "random"])
@pytest.mark.parametrize(("ranking", "budget"), [("local", 0.5), ("global", 0.3)])
def test_the_budget_is_hit_within_two_percent(importance: str, ranking: str, budget: float) -> None:
    model, where = network(), context()
    pruned: Any = Prune(macs=budget, importance=importance, ranking=ranking).apply(model, where)  # type: ignore[arg-type]
    left = macs(pruned, EXAMPLE[:1]) / macs(model, EXAMPLE[:1])
    assert abs(left - budget) <= 0.02 * budget
    assert where.facts["macs_left"] == left
    assert pruned(EXAMPLE).shape == (4, 3)
    assert model.classifier.in_features == 32, "the network that was given is not touched"
    assert all(p.requires_grad for p in pruned.parameters())


def test_l2_removes_the_smallest_filters() -> None:
    model = network()
    with torch.no_grad():
        model.blocks[0].conv1.weight[::2] *= 1e-3
    pruned: Any = Prune(macs=0.5).apply(model, context())
    kept = pruned.blocks[0].conv1.weight.flatten(1).norm(dim=1)
    assert len(kept) < 8
    assert sum(kept > 0.1) == min(4, len(kept))


def counts(model: nn.Module) -> list[int]:
    return [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_channels_stay_multiples_of_round_to_and_of_as_much_as_fits_if_none_is_given() -> None:
    pruned: Any = Prune(macs=0.56, round_to=2, ranking="global").apply(network(), context())
    assert all(count % 2 == 0 for count in counts(pruned))
    wide = load_module(ModelSpec(name="w", source=ENTRY, options=Options({**OPTIONS, "width": 32})), Path())
    assert all(count % 8 == 0 for count in counts(Prune(macs=0.5).apply(wide, context())))
    assert any(count % 8 for count in counts(Prune(macs=0.5).apply(network(), context())))


def test_a_layer_that_is_kept_keeps_its_channels() -> None:
    pruned: Any = Prune(macs=0.6, keep="blocks.1.conv1").apply(network(), context())
    assert pruned.blocks[1].conv1.out_channels == 16
    assert pruned.blocks[2].conv1.out_channels < 32
    with pytest.raises(ModelError, match=r'"blocks.1.conv11".*Did you mean "blocks.1.conv1"'):
        Prune(macs=0.6, keep="blocks.1.conv11").apply(network(), context())


def test_a_budget_out_of_reach_names_the_nearest() -> None:
    with pytest.raises(
        ModelError, match=r"cannot leave 50.0% .* nearest it reaches is \d+\.\d%.*Ask for macs = 0\.\d+"
    ):
        Prune(macs=0.5, round_to=8).apply(network(), context())


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ModelError, match=r"runs no convolution"):
        Prune(macs=0.5).apply(nn.Flatten(), context())


def test_a_pruned_network_is_built_again_in_a_fresh_process(tmp_path: Path) -> None:
    where = context()
    pruned: Any = Prune(macs=0.5).apply(network(), where)
    described = checkpoint.save(pruned, where.architecture, tmp_path, Path(), EXAMPLE)
    assert described.changes["stem.0"]["out_channels"] == pruned.stem[0].out_channels
    code = (
        "import sys; from pathlib import Path; import numpy as np, torch\n"
        "from edgebench.compress import checkpoint\n"
        "net = checkpoint.load(Path(sys.argv[1]), Path('.'))\n"
        "np.save(sys.argv[1] + '/out.npy', net(torch.from_numpy(np.load(sys.argv[1] + '/in.npy'))).detach().numpy())\n"
    )
    np.save(tmp_path / "in.npy", EXAMPLE.numpy())
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), pruned(EXAMPLE).detach().numpy())
    assert {p.name for p in tmp_path.iterdir()} == {"network.safetensors", "network.json", "in.npy", "out.npy"}


def test_a_change_that_cannot_be_described_is_refused(tmp_path: Path) -> None:
    model, where = network(), context()
    model.pool = nn.MaxPool2d(3)
    with pytest.raises(ModelError, match=r"has other modules now"):
        checkpoint.save(model, where.architecture, tmp_path, Path(), EXAMPLE)
    hidden = network()
    hidden.stem[0].forward = lambda x: torch.zeros(len(x), 8, 12, 12)
    with pytest.raises(ModelError, match=r"answers otherwise when it is built again"):
        checkpoint.save(hidden, where.architecture, tmp_path, Path(), EXAMPLE)


def test_what_else_makes_an_answer_differ_is_named_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, kind):\n"
        "        super().__init__()\n"
        "        self.kind, self.fc = kind, nn.Linear(144, 3)\n"
        "    def forward(self, x):\n"
        "        if self.kind == 'in place':\n"
        "            x.sub_(1)\n"
        "        if self.kind == 'random':\n"
        "            x = x + torch.randn_like(x)\n"
        "        return self.fc(x.flatten(1))\n"
    )

    def save(kind: str) -> nn.Module:
        architecture = Architecture(entry="odd:Net", options=Options(kind=kind))
        model = load_module(ModelSpec(name="n", source="odd:Net", options=architecture.options), tmp_path)
        if kind == "broken":
            model.fc.weight.data[0] = float("nan")
        checkpoint.save(model, architecture, tmp_path, tmp_path, example)
        return model

    example = EXAMPLE.clone()
    save("in place")
    assert torch.equal(example, EXAMPLE)
    with pytest.raises(ModelError, match=r"otherwise when it is asked again.*random.*if self.training"):
        save("random")
    with pytest.raises(ModelError, match=r"answers NaN.*Lower lr"):
        save("broken")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    where = context()
    checkpoint.save(network(), where.architecture, tmp_path, Path(), EXAMPLE)
    file = tmp_path / checkpoint.DESCRIPTION
    described = json.loads(file.read_text())
    described["entry"] = "torch.nn:Flatten"
    described["options"] = {}
    file.write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"not the one that was saved"):
        checkpoint.load(tmp_path, Path())


def test_tied_weights_and_plain_attributes_survive(tmp_path: Path) -> None:
    (tmp_path / "tied.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, factor=1.0):\n"
        "        super().__init__()\n"
        "        self.factor = factor\n"
        "        self.a = nn.Linear(144, 144)\n"
        "        self.b = nn.Linear(144, 144)\n"
        "        self.b.weight = self.a.weight\n"
        "    def forward(self, x):\n"
        "        return self.b(self.a(x.flatten(1))) * self.factor\n"
    )
    model: Any = load_module(ModelSpec(name="t", source="tied:Net"), tmp_path)
    model.factor = 3.0
    folder = tmp_path / "out"
    folder.mkdir()
    described = checkpoint.save(model, Architecture(entry="tied:Net"), folder, tmp_path, EXAMPLE)
    assert described.changes == Options({"": {"factor": 3.0}})
    again: Any = checkpoint.load(folder, tmp_path)
    assert again.a.weight is again.b.weight
    assert torch.equal(again(EXAMPLE), model(EXAMPLE))


def test_a_class_that_is_made_within_the_entry_is_the_same_class_again(tmp_path: Path) -> None:
    (tmp_path / "within.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    class Net(nn.Module):\n"
        "        def __init__(self):\n"
        "            super().__init__()\n"
        "            self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3))\n"
        "            self.fc = nn.Linear(400, 3)\n"
        "        def forward(self, x):\n"
        "            return self.fc(self.conv(x).flatten(1))\n"
        "    return Net()\n"
    )
    model = load_module(ModelSpec(name="n", source="within:make"), tmp_path)
    checkpoint.save(model, Architecture(entry="within:make"), tmp_path, tmp_path, EXAMPLE)
    assert torch.equal(checkpoint.load(tmp_path, tmp_path)(EXAMPLE), model(EXAMPLE))


def test_lazy_layers_are_named(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n"
    )
    model = load_module(ModelSpec(name="n", source="lazy:make"), tmp_path)
    model(EXAMPLE)
    with pytest.raises(ModelError, match=r"lazy:make builds has lazy layers.*Run it once"):
        checkpoint.save(model, Architecture(entry="lazy:make"), tmp_path, tmp_path, EXAMPLE)
