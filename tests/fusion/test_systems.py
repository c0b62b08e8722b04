"""What single fusion systems promise beyond the contract that all of them keep."""

import pytest
import torch

from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import EarlyFusionLSTM, LateFusion, LowRankFusion, TensorFusion
from sklearn_mdm.fusion import _tensor as tensor

SHAPES = {"m0": (3,), "m1": (2,), "m2": (4,)}
ENCODER = MLPEncoder((8,), 4, dropout=0.0)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def batch(shapes=SHAPES, n=6):
    return {name: torch.randn((n, *shape), dtype=torch.float64) for name, shape in shapes.items()}


def masks(**missing):
    return {name: torch.tensor([i not in missing.get(name, []) for i in range(6)]) for name in SHAPES}


def built(fusion, shapes=SHAPES, n_outputs=2, **options):
    return fusion.build(shapes, n_outputs, encoder=ENCODER, **options).double()


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


# --- late ------------------------------------------------------------------------------------------------------------


def decisions(module, X):
    return torch.stack([head(module.represent(X)[name]) for name, head in module.heads.items()])


def test_late__even_weights__is_the_mean_of_the_observed_decisions():
    module, X = built(LateFusion(weights="even", dropout=0.0)), batch()
    single = decisions(module, X)
    equal(module(X).prediction, single.mean(0))
    found = module(X, masks(m1=[0], m2=[0, 1])).prediction
    equal(found[0], single[0, 0])
    equal(found[1], single[:2, 1].mean(0))
    equal(found[2:], single[:, 2:].mean(0))
    assert not module.log_weights.requires_grad


def test_late__learned_weights__stay_in_proportion_among_the_observed():
    module, X = built(LateFusion(dropout=0.0)), batch()
    module.log_weights.data = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64).log()
    single = decisions(module, X)
    equal(module(X).prediction, 0.2 * single[0] + 0.3 * single[1] + 0.5 * single[2])
    equal(module(X, masks(m2=[3])).prediction[3], 0.4 * single[0, 3] + 0.6 * single[1, 3])


def test_late__fused__adds_up_to_the_prediction_and_is_zero_for_a_missing_modality():
    module, X = built(LateFusion(dropout=0.0), n_outputs=3), batch()
    output = module(X, masks(m1=[2]))
    equal(output.fused.view(6, 3, 3).sum(1), output.prediction)
    assert not output.fused.view(6, 3, 3)[2, 1].any()


def test_late__effects_of_modalities__add_up():
    module, X, other = built(LateFusion(dropout=0.0)), batch(), batch()
    both = {**X, "m0": other["m0"], "m1": other["m1"]}
    changes = [module({**X, name: other[name]}).prediction - module(X).prediction for name in ("m0", "m1")]
    equal(module(both).prediction - module(X).prediction, sum(changes))


def test_late__unknown_weights__error():
    with pytest.raises(ValueError, match=r"'weights' parameter of LateFusion must be .*Got 'uniform'"):
        LateFusion(weights="uniform").build(SHAPES, 1)


# --- tensor and low rank ---------------------------------------------------------------------------------------------


def test_outer_product__holds_every_product_of_every_subset():
    a, b = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0]])
    assert tensor.outer_product([a, b]).tolist() == [[10, 14, 2, 15, 21, 3, 5, 7, 1]]


def test_tensor__rows_at_once__change_nothing(monkeypatch):
    module, X = built(TensorFusion()), batch()
    expected = module(X)
    monkeypatch.setattr(module, "rows_at_once", 2)
    found = module(X)
    equal(found.prediction, expected.prediction)
    equal(found.fused, expected.fused)


def test_tensor__too_wide__error_names_widths_and_remedies():
    shapes = {f"m{i}": (3,) for i in range(5)}
    with pytest.raises(ValueError, match=r"\(32 \+ 1\) x .* = 39,135,393 entries .* 5 modalities.*low_rank"):
        TensorFusion().build(shapes, 1)
    TensorFusion().build(shapes, 1, encoder=MLPEncoder(out_dim=4, dropout=0.0))


def test_tensor__no_hidden_layer__error():
    with pytest.raises(ValueError, match=r"at least one hidden layer, got hidden_dims=\(\)"):
        TensorFusion(hidden_dims=()).build(SHAPES, 1)


def test_tensor__dropout__acts_on_the_products_in_training_only():
    module, X = built(TensorFusion(dropout=0.5)), batch()
    assert not torch.equal(module(X).prediction, module(X).prediction)
    module.eval()
    assert torch.equal(module(X).prediction, module(X).prediction)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_tensor__dropout__keeps_the_scale_and_drops_its_share(p):
    module = built(TensorFusion(dropout=p)).train()
    products = torch.ones(4, 250_001, dtype=torch.float64, requires_grad=True)
    dropped = module._drop(products)
    kept = dropped != 0
    # Four standard deviations of a million draws.
    assert abs(kept.double().mean() - (1 - p)) < 4 * (p * (1 - p) / 1e6) ** 0.5
    assert torch.unique(dropped[kept]).tolist() == pytest.approx([1 / (1 - p)])
    assert not torch.equal(kept[0], kept[1])
    dropped.sum().backward()
    equal(products.grad, dropped.detach())


def test_low_rank__is_a_linear_map_of_the_tensor_of_low_rank():
    rank, n_outputs = 3, 2
    module, X = built(LowRankFusion(rank=rank), n_outputs=n_outputs), batch()
    weight = 0
    for r in range(rank):
        for o in range(n_outputs):
            row = torch.ones(1).double()
            for factor in module.factors.values():
                i = r * n_outputs + o
                row = torch.outer(row, torch.cat([factor.weight[i], factor.bias[[i]]])).flatten()
            weight = weight + torch.outer(module.rank_weights[r] * row, torch.eye(n_outputs).double()[o])
    output = module(X)
    equal(output.prediction, tensor.outer_product(output.representations.values()) @ weight + module.bias)
    assert output.fused.shape == (6, rank * n_outputs)


# --- early -----------------------------------------------------------------------------------------------------------


def test_early__representation__is_the_embedding_of_the_mean_step():
    shapes = {"m0": (5, 3), "m1": (5, 2)}
    module = EarlyFusionLSTM(embed_dim=4).build(shapes, 1).double()
    X = batch(shapes)
    mask = {name: torch.ones(6, 5, dtype=torch.bool) for name in X}
    mask["m0"][0, 2:] = False
    mask["m1"][1] = False
    representations = module.represent(X, mask)
    equal(representations["m0"][0], module.embeddings["m0"](X["m0"][0, :2]).mean(0))
    assert not representations["m1"][1].any()


def test_early__token__stands_where_a_modality_was_not_observed():
    shapes = {"m0": (5, 3), "m1": (5, 2)}
    modules = {}
    for missing in ("mean", "token"):
        torch.manual_seed(0)
        modules[missing] = EarlyFusionLSTM(embed_dim=4).build(shapes, 1, missing=missing).double()
    modules["token"].tokens["m1"].data += 1.0
    X = batch(shapes)
    mask = {name: torch.ones(6, 5, dtype=torch.bool) for name in X}
    mask["m1"][1, 3] = False
    found = [modules[missing](X, mask).prediction for missing in ("mean", "token")]
    assert (found[0] != found[1]).flatten().tolist() == [False, True, False, False, False, False]


def test_early__layers__are_stacked_with_dropout_between():
    module = EarlyFusionLSTM(n_layers=2, dropout=0.5).build({"m0": (5, 3)}, 1)
    assert module.lstm.num_layers == 2 and module.lstm.dropout == 0.5
    assert EarlyFusionLSTM(dropout=0.5).build({"m0": (5, 3)}, 1).lstm.dropout == 0.0
