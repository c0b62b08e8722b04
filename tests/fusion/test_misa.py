"""MISAFusion: its three losses by hand, rows that leave them, and the utterance vectors of the paper."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.encoders import LSTMEncoder, MLPEncoder
from sklearn_mdm.fusion import MISAFusion
from sklearn_mdm.fusion._misa import difference, similarity

SHAPES = {"m0": (5, 3), "m1": (2,), "m2": (6, 2)}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(shapes=SHAPES, n=7):
    return {name: random(n, *shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def masks(n=7):
    """Gaps and padding; m0 lacks samples 1 and 5, m1 samples 2 and 5, m2 sample 1."""
    generator = torch.Generator().manual_seed(3)
    mask = {name: torch.rand(n, *shape[:-1], generator=generator) < 0.7 for name, shape in SHAPES.items()}
    for name, rows in (("m0", [0, 2, 3, 4, 6]), ("m2", [0, 2, 3, 4, 5, 6])):
        mask[name][rows, 1] = True
    mask["m1"] |= True
    mask["m0"][[1, 5]] = mask["m2"][1] = False
    mask["m1"][[2, 5]] = False
    return mask


def build(shapes=SHAPES, n_outputs=1, encoder="auto", missing="mean", **parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fusion = MISAFusion(**{"hidden_dim": 4, "feedforward_dim": 6, "dropout": 0.0, **parameters})
        module = fusion.build(shapes, n_outputs, encoder=encoder, missing=missing).double().train()
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return module


def rows_of(values, rows):
    return {name: value[rows] for name, value in values.items()}


# --- the losses by hand ----------------------------------------------------------------------------------------------


def cmd(a, b):
    distance = np.linalg.norm(a.mean(0) - b.mean(0))
    for order in (2, 3, 4, 5):
        moments = [((x - x.mean(0)) ** order).mean(0) for x in (a, b)]
        distance += np.linalg.norm(moments[0] - moments[1])
    return distance


def overlap(a, b):
    a, b = (x - x.mean(0) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return ((a.T @ b) ** 2).mean()


def losses(module, X, mask=None):
    """Similarity, difference and reconstruction in numpy, of the rows in which each modality was observed."""
    names = list(module.code_dims)
    z = module.represent(X, mask)
    shared = {name: module.shared(z[name]).sigmoid() for name in names}
    private = {name: module.private[name](z[name]).sigmoid() for name in names}
    errors = {name: (module.decode[name](shared[name] + private[name]) - z[name]).square().mean(1) for name in names}
    shared, private, errors = ({n: v.detach().numpy() for n, v in part.items()} for part in (shared, private, errors))
    seen = {name: np.ones(len(errors[name]), bool) for name in names}
    if mask is not None:
        seen = {name: mask[name].reshape(len(seen[name]), -1).any(1).numpy() for name in names}
    pairs = list(combinations(names, 2))
    sim = np.mean([cmd(shared[i][seen[i]], shared[j][seen[j]]) for i, j in pairs]) if pairs else 0.0
    diff = sum(overlap(shared[name][seen[name]], private[name][seen[name]]) for name in names)
    both = {(i, j): seen[i] & seen[j] for i, j in pairs}
    diff += sum(overlap(private[i][both[i, j]], private[j][both[i, j]]) for i, j in pairs)
    recon = np.concatenate([errors[name][seen[name]] for name in names]).mean()
    return sim, diff, recon


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 0.3, 1.0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_penalty__is_the_weighted_sum_of_the_losses(masked, weights):
    module = build(sim_weight=weights[0], diff_weight=weights[1], recon_weight=weights[2])
    X, mask = batch(), masks() if masked else None
    expected = np.dot(weights, losses(module, X, mask))
    assert module(X, mask).penalty.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_modalities", [1, 4])
def test_penalty__one_and_four_modalities__is_that_by_hand(n_modalities):
    module = build({f"m{i}": (i + 1,) for i in range(n_modalities)})
    X = batch({f"m{i}": (i + 1,) for i in range(n_modalities)})
    expected = np.dot((1.0, 0.3, 1.0), losses(module, X))
    assert module(X).penalty.item() == pytest.approx(expected, rel=1e-9)


def test_similarity__two_points_each__is_known():
    # Of 0 and 1: mean 1/2, central moments 1/4, 0, 1/16, 0; of a constant 1/2 only the mean, which is the same.
    shared = torch.tensor([[[0.0], [1.0]], [[0.5], [0.5]]], dtype=torch.float64)
    assert similarity(shared, torch.ones(2, 2, dtype=torch.float64)).item() == pytest.approx(1 / 4 + 1 / 16, abs=1e-12)


def test_difference__equal_and_orthogonal_parts__is_known():
    # Rows (1, 0) and (-1, 0) after centring: the product has one entry, 2; its mean square is 4 / 4. Of (1, 0) with
    # (0, 1) rows it has one entry, too, and with (0, 1), (0, -1), (0, 1), ... of the other sign pattern none.
    same = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    ones = torch.ones(1, 2, dtype=torch.float64)
    assert difference(same[None], same[None], ones).item() == pytest.approx(1.0, abs=1e-12)
    four = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype=torch.float64)
    other = torch.tensor([[0, 1.0], [0, -1], [0, 1], [0, -1]], dtype=torch.float64)
    assert difference(four[None], other[None], torch.ones(1, 4, dtype=torch.float64)).item() == 0


# --- rows that leave the losses --------------------------------------------------------------------------------------


def test_penalty__values_of_a_missing_modality__make_no_difference():
    # With a learned replacement, what lies in those rows would be felt if they counted.
    module, X, mask = build(missing="token"), batch(), masks()
    expected = module(X, mask).penalty
    for token in module.encoders.tokens.values():
        torch.nn.init.constant_(token, 3.0)
    assert_close(module(X, mask).penalty, expected, rtol=0, atol=1e-12)


def test_penalty__rows_without_anything__are_as_if_they_were_not_there():
    module, X = build(), batch()
    kept = torch.tensor([0, 2, 3, 6])
    mask = {name: torch.ones(x.shape[:-1], dtype=torch.bool) for name, x in X.items()}
    for seen in mask.values():
        seen[[1, 4, 5]] = False
    assert_close(module(X, mask).penalty, module(rows_of(X, kept)).penalty, rtol=0, atol=1e-12)


EDGES = {
    "one row": (1, {}),
    "two rows": (2, {}),
    "no row of one modality": (4, {"m0": [0, 1, 2, 3]}),
    "no row with two of them": (4, {"m0": [0, 1], "m1": [2, 3]}),
    "one row of one modality": (4, {"m1": [0, 2, 3]}),
    "nothing": (3, {"m0": [0, 1, 2], "m1": [0, 1, 2], "m2": [0, 1, 2]}),
}


@pytest.mark.parametrize("case", EDGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalty__few_rows__is_finite_and_so_are_its_gradients(case, dtype):
    n, hidden = EDGES[case]
    module = build().to(dtype)
    X = {name: x.to(dtype) for name, x in batch(n=n).items()}
    mask = {name: torch.ones(x.shape[:-1], dtype=torch.bool) for name, x in X.items()}
    for name, rows in hidden.items():
        mask[name][rows] = False
    output = module(X, mask)
    (output.penalty + output.prediction.sum()).backward()
    assert torch.isfinite(output.penalty) and output.penalty >= 0
    assert (output.penalty == 0) == (case == "nothing")
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_penalty__parts_that_are_equal__has_finite_gradients():
    # Norms and lengths of zero, where their derivatives are undefined.
    parts = torch.full((3, 4, 2), 0.5, dtype=torch.float64, requires_grad=True)
    seen = torch.ones(3, 4, dtype=torch.float64)
    (similarity(parts, seen) + difference(parts, parts, seen)).backward()
    assert not parts.grad.any()


def test_penalty__in_evaluation__is_none():
    module = build().eval()
    assert module(batch(), masks()).penalty is None


def test_training__adds_the_penalty_to_the_loss(X, y):
    fusion = MISAFusion(hidden_dim=4, feedforward_dim=8)
    parameters = {"lam": 0, "max_epochs": 3, "random_state": 0, "device": "cpu", "early_stopping": False}
    with_losses = MDMFusionRegressor(n_estimators=1, fusion=fusion, **parameters).fit(X, y)
    without = MISAFusion(hidden_dim=4, feedforward_dim=8, sim_weight=0, diff_weight=0, recon_weight=0)
    without = MDMFusionRegressor(n_estimators=1, fusion=without, **parameters).fit(X, y)
    scale = with_losses.target_scaler_.scale_[0] ** 2
    for model, is_more in ((with_losses, True), (without, False)):
        row = model.history_[0]
        assert (row["train_loss"] - row["train_task_loss"] / scale > 0.1) == is_more


# --- utterance vectors -----------------------------------------------------------------------------------------------


def utterance(encoder, x):
    """Last states of both directions of both layers, of one sample (T, d) alone."""
    states, (first, _) = encoder.first(x.unsqueeze(0))
    _, (second, _) = encoder.second(encoder.norm(states))
    return torch.cat([*first, *second], dim=1)[0]


def test_utterance__of_a_sequence__reads_the_observed_steps_in_both_directions():
    module, X, mask = build(), batch(), masks()
    found = module.encoders.represent(X, mask)
    whole = module.encoders.represent(X)
    for name in ("m0", "m2"):
        encoder = module.encoders.encoders[name]
        assert found[name].shape == (7, 4 * SHAPES[name][1])
        for i in range(7):
            steps = X[name][i, mask[name][i]]
            steps = steps if len(steps) else torch.zeros(1, SHAPES[name][1], dtype=torch.float64)
            assert_close(found[name][i], utterance(encoder, steps), rtol=0, atol=1e-12)
            assert_close(whole[name][i], utterance(encoder, X[name][i]), rtol=0, atol=1e-12)


def test_utterance__of_a_vector__is_the_vector():
    module, X = build(), batch()
    assert torch.equal(module.encoders.represent(X)["m1"], X["m1"])
    assert not list(module.encoders.encoders["m1"].parameters())


def test_encoder__takes_the_place_of_the_lstms():
    module = build(encoder={"m0": MLPEncoder((5,), 6, dropout=0.0), "m1": "mlp"})
    encoders = module.encoders.encoders
    assert [encoders[name].out_dim for name in SHAPES] == [6, 32, 8]
    assert module.code_dims == dict.fromkeys(SHAPES, 4)
    with pytest.raises(ValueError, match=r"modality 'm1'.*vector"):
        build(encoder=LSTMEncoder())


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_masks__garbage_and_appended_steps__change_nothing(missing):
    module, X, mask = build(missing=missing), batch(), masks()

    def run(X, mask):
        module.zero_grad()
        output = module(X, mask)
        (output.prediction.sum() + output.penalty).backward()
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        return [output.prediction, output.fused, output.penalty, *output.representations.values(), *gradients]

    expected = run(X, mask)
    garbage = {name: torch.where(mask[name].unsqueeze(-1), x, -1e30) for name, x in X.items()}
    longer, longer_mask = dict(garbage), dict(mask)
    longer["m0"] = torch.cat([garbage["m0"], torch.full((7, 9, 3), 1e30, dtype=torch.float64)], dim=1)
    longer_mask["m0"] = torch.nn.functional.pad(mask["m0"], (0, 9))
    for found in (run(garbage, mask), run(longer, longer_mask)):
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SHAPES)
def test_representation__other_modalities_change__is_the_same_bit_for_bit(name):
    module, X, mask = build(), batch(), masks()
    for given in (None, mask):
        before = module(X, given).representations[name]
        others = {other: x if other == name else -2 * x for other, x in X.items()}
        hidden = {n: seen if n == name else seen & False for n, seen in mask.items()} if given else None
        assert torch.equal(module(others, hidden).representations[name], before)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients__are_those_of_finite_differences(masked):
    module, X = build(n_outputs=2, missing="token"), batch()
    shapes = {name: value.shape for name, value in module.named_parameters()}
    flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach().requires_grad_()

    def run(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        parameters = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        output = torch.func.functional_call(module, parameters, (X, masks() if masked else None))
        return torch.cat([output.prediction, *output.representations.values()], dim=1), output.penalty

    assert torch.autograd.gradcheck(run, flat, fast_mode=True)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_heads_that_do_not_divide_the_width__error_names_both():
    with pytest.raises(ValueError, match=r"n_heads divides, got hidden_dim=6 and n_heads=4"):
        build(hidden_dim=6, n_heads=4)


@pytest.mark.parametrize("name", ["sim_weight", "diff_weight", "recon_weight"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_weight_that_is_negative__error_names_it(name, value):
    with pytest.raises(ValueError, match=rf"'{name}' parameter of MISAFusion must be .*Got {value}"):
        build(**{name: value})
