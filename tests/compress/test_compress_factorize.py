"""Low-rank factorization: the best approximation, the budget, and a checkpoint that is built again elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import context, network, stripes
from compress_networks import Encoder, Odd
from torch import nn

from edgebench.codec import Options
from edgebench.compress import checkpoint
from edgebench.compress.context import Architecture
from edgebench.compress.load_model import macs, parameters, tensor
from edgebench.compress.lowering.export import export_onnx
from edgebench.compress.pruning import factorize
from edgebench.compress.pruning.factorize import Factorize, spectra_of
from edgebench.compress.pruning.prune import Prune
from edgebench.errors import ModelError, PlanError

EXAMPLE = tensor(stripes().evaluation.inputs[:4])
ONE = EXAMPLE[:1]


def test_the_error_of_a_linear_layer_is_that_of_the_singular_values_left_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10))
    made: Any = factorize.factorized(model, {"0": 4}, spectra_of(model, ""))
    product = (made[0][1].weight @ made[0][0].weight).detach().numpy()
    weight = model[0].weight.detach().numpy()
    values = np.linalg.svd(weight, compute_uv=False)
    assert np.linalg.norm(product - weight) == pytest.approx(np.sqrt((values[4:] ** 2).sum()), rel=1e-4)
    assert torch.equal(made[0][1].bias, model[0].bias)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 8, (3, 1), padding=(1, 0), dilation=(1, 1), padding_mode="circular"),
        nn.Conv2d(6, 8, 1, bias=False),
        nn.Conv1d(6, 8, 5, padding="same"),
    ],
)
def test_at_full_rank_a_convolution_is_the_same(layer: Any) -> None:
    model = nn.Sequential(layer)
    spectra = spectra_of(model, "")
    x = torch.randn(2, 6, 9, 9) if isinstance(layer, nn.Conv2d) else torch.randn(2, 6, 9)
    made = factorize.factorized(model, {"0": len(spectra["0"].s)}, spectra)
    assert torch.allclose(made(x), model(x), atol=1e-5)


def test_energy_gives_the_least_rank_that_keeps_it_and_leaves_what_would_not_save() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 40, bias=False), nn.Linear(40, 4, bias=False))
    with torch.no_grad():
        u, _, v = torch.linalg.svd(torch.randn(40, 40))
        model[0].weight.copy_(u @ torch.diag(torch.cat([torch.tensor([3.0, 2.0, 1.0]), torch.zeros(37)])) @ v)
    ranks = [factorize.ranks_by_energy(spectra_of(model, ""), e).get("0") for e in (0.6, 0.9, 0.95)]
    assert ranks == [1, 2, 3]  # 9, 4 and 1 of 14
    assert "1" not in factorize.ranks_by_energy(spectra_of(model, ""), 0.9999), (
        "rank 4 of 4x40 costs more than it saves"
    )


@pytest.mark.parametrize(("word", "budget"), [("macs", 0.5), ("macs", 0.7), ("parameters", 0.4)])
def test_the_budget_is_hit_within_two_percent(word: str, budget: float) -> None:
    model, where = network(), context()
    made = Factorize(**{word: budget}).apply(model, where)
    cost = (lambda m: macs(m, ONE)) if word == "macs" else parameters
    assert cost(made) == pytest.approx(budget * cost(model), rel=0.02)
    assert where.facts[f"{word}_left"] == cost(made) / cost(model)
    assert where.facts["ranks"]
    assert made(EXAMPLE).shape == (4, 3)


def test_a_factorized_and_pruned_network_is_built_again_in_a_fresh_process(tmp_path: Path) -> None:
    """Pruned before and after: widths are changes, ranks are options of the entry."""
    where = context()
    first = Prune(macs=0.7).apply(network(), where)
    made = Factorize(energy=0.8).apply(first, where)
    assert where.architecture.entry == "edgebench.compress.pruning.factorize:rebuilt"
    last = Prune(macs=0.8).apply(made, where)
    checkpoint.save(last, where.architecture, tmp_path, Path(), EXAMPLE)
    code = (
        "import sys; from pathlib import Path; import numpy as np, torch\n"
        "from edgebench.compress import checkpoint\n"
        "torch.set_num_threads(1)\n"
        "net = checkpoint.load(Path(sys.argv[1]), Path('.'))\n"
        "np.save(sys.argv[1] + '/out.npy', net(torch.from_numpy(np.load(sys.argv[1] + '/in.npy'))).detach().numpy())\n"
    )
    np.save(tmp_path / "in.npy", EXAMPLE.numpy())
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), last(EXAMPLE).detach().numpy())


def test_the_entry_beside_a_plan_is_found_from_its_own_folder(tmp_path: Path) -> None:
    for folder, width in (("a", 16), ("b", 24)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own_net.py").write_text(
            "from torch import nn\n"
            f"def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(144, {width}), nn.Linear({width}, 3))\n"
        )
    architecture = Architecture(
        entry=factorize.REBUILT, options=Options(entry="own_net:make", options={}, ranks={"1": 2})
    )
    for folder, width in (("a", 16), ("b", 24)):
        from edgebench.compress.load_model import load_module
        from edgebench.schema import ModelSpec

        spec = ModelSpec(name="n", source=architecture.entry, options=architecture.options)
        built: Any = load_module(spec, tmp_path / folder)
        assert (built[1][0].out_features, built[1][1].out_features) == (2, width)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PlanError, match="needs the option energy, macs or parameters"):
        Factorize()
    with pytest.raises(PlanError, match="was given energy and macs"):
        Factorize(energy=0.5, macs=0.5)
    with pytest.raises(ModelError, match=r"cannot leave 0\.1% of the MACs .* nearest is \d+\.\d%.*Ask for macs = 0\."):
        Factorize(macs=0.001).apply(network(), context())
    with pytest.raises(ModelError, match=r"nearest is 100\.0%.*Leave the step out\.$"):
        Factorize(macs=0.5).apply(nn.Sequential(nn.Flatten(), nn.Linear(144, 1)), context())
    with pytest.raises(ModelError, match=r"No layer .* becomes cheaper"):
        Factorize(energy=0.999999).apply(nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), context())
    with pytest.raises(ModelError, match=r'no layer "classifer".*Did you mean "classifier"'):
        Factorize(energy=0.5, keep="classifer").apply(network(), context())


def test_a_layer_that_is_kept_stays_and_torch_attention_is_left_alone() -> None:
    made: Any = Factorize(energy=0.5, keep="stem.0,classifier").apply(network(), context())
    assert isinstance(made.stem[0], nn.Conv2d)
    assert isinstance(made.classifier, nn.Linear)
    assert isinstance(made.blocks[0].conv1, nn.Sequential)
    assert list(spectra_of(nn.TransformerEncoderLayer(8, 2, 16), "")) == ["linear1", "linear2"]


def test_a_transformer_of_torch_is_factorized_and_runs_in_every_mode(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, where = Encoder().eval(), context()
    made: Any = Factorize(energy=0.7).apply(model, where)
    assert {"encoder.layers.0.linear1", "encoder.layers.1.linear2"} <= set(where.facts["ranks"])
    assert macs(made, ONE) < macs(model, ONE)
    with torch.no_grad():
        fused = made(EXAMPLE)
    assert torch.allclose(fused, made(EXAMPLE), atol=1e-5), "the fused operator of inference reads the product"
    export_onnx(made, EXAMPLE, tmp_path / "made.onnx")


def test_layers_that_are_tied_or_not_called_stay_and_are_named() -> None:
    for oddity, names in (("tied", {"first", "second"}), ("read", {"second"})):
        torch.manual_seed(0)
        model, where = Odd(oddity), context()
        made: Any = Factorize(energy=0.6).apply(model, where)
        assert set(where.facts["left_alone"]) == names
        assert not names & set(where.facts["ranks"])
        assert parameters(made) < parameters(model)
        assert oddity != "tied" or made.first.weight is made.second.weight


def test_a_layer_held_in_two_places_stays_one() -> None:
    torch.manual_seed(0)
    inner = nn.Linear(144, 144)
    model, where = (
        nn.Sequential(nn.Flatten(), inner, nn.ReLU(), inner, nn.Linear(144, 100), nn.Linear(100, 3)),
        context(),
    )
    made: Any = Factorize(energy=0.3).apply(model, where)
    assert made[1] is made[3]
    assert where.facts["left_alone"] == {"1": "shares its weights with another layer"}
    with pytest.raises(ModelError, match=r"at this energy; 1 shares its weights"):
        Factorize(energy=0.9999).apply(model, context())


def test_a_block_that_runs_in_two_places_is_factorized_once() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(144, 144), nn.ReLU())
    model, where = nn.Sequential(nn.Flatten(), block, block, nn.Linear(144, 3)), context()
    made: Any = Factorize(energy=0.3).apply(model, where)
    assert made[1] is made[2]
    assert where.facts["ranks"]["1.0"] < 72
