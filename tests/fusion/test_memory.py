"""MemoryFusion: packed recurrences against plain loops, gaps, and what the memory has seen."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sklearn_mdm import MDMFusionClassifier
from sklearn_mdm.fusion import MemoryFusion
from sklearn_mdm.fusion._packed import GatedMemory, LSTMStates, Packing, shift

SHAPES = {"m0": (6, 3), "m1": (6, 2), "m2": (6, 4)}
# Gaps, padding at either end, a sample without any step, and one without a gap.
MASK = torch.tensor(
    [[1, 1, 0, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]
).bool()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def batch(shapes=SHAPES, n=5):
    return {name: random(n, *shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def masks(shapes=SHAPES):
    """A mask of its own for each modality; sample 2 has nothing, sample 3 everything."""
    return {name: MASK & (torch.arange(6) != 2 + i) | MASK.all(1, keepdim=True) for i, name in enumerate(shapes)}


def build(shapes=SHAPES, n_outputs=1, missing="mean", **parameters):
    defaults = {"hidden_dims": 3, "memory_dim": 4, "attention_dim": 5, "candidate_dim": 6, "head_dim": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fusion = MemoryFusion(**{**defaults, "retain_dim": 3, "update_dim": 2, **parameters})
        module = fusion.build(shapes, n_outputs, missing=missing).double()
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    return module


# --- packed steps ----------------------------------------------------------------------------------------------------


def test_packing__rows__are_the_observed_steps_in_turn():
    x = torch.arange(30.0).view(5, 6, 1)  # sample * 6 + step
    packing = Packing(MASK, 5, 6)
    # Samples 3, 0, 1, 4 have 6, 3, 3, 1 steps.
    assert packing.sizes == [4, 3, 3, 1, 1, 1]
    assert packing.pack(x).flatten().tolist() == [18, 0, 8, 29, 19, 1, 9, 20, 3, 10, 21, 22, 23]


@pytest.mark.parametrize("mask", [torch.ones(5, 6, dtype=torch.bool), MASK, MASK & False])
def test_packing__latest__is_the_last_observed_step_so_far(mask):
    x = random(5, 6, 2)
    packing = Packing(mask, 5, 6)
    found = torch.cat([torch.zeros(1, 2), packing.pack(x)])[packing.latest()]
    for i in range(5):
        last = torch.zeros(2, dtype=torch.float64)
        for t in range(6):
            last = x[i, t] if mask[i, t] else last
            assert torch.equal(found[i, t], last)


def test_packing__per_sample__restores_the_order_and_fills_with_zeros():
    packing = Packing(MASK, 5, 6)
    last = torch.tensor([[3.0], [0.5], [1.0], [4.0]])
    assert packing.per_sample(last).flatten().tolist() == [0.5, 1, 0, 3, 4]


def test_packing__turned__reads_each_sample_backwards():
    x = torch.arange(30.0).view(5, 6, 1)
    packing = Packing(MASK, 5, 6)
    rows = packing.pack(x)[packing.turned()]
    assert rows.flatten().tolist() == [23, 3, 10, 29, 22, 1, 9, 21, 0, 8, 20, 19, 18]
    assert torch.equal(rows[packing.turned()], packing.pack(x))


def test_shift__rows__come_from_the_step_before_of_the_same_sample():
    x = torch.arange(30.0).view(5, 6, 1)
    packing = Packing(MASK, 5, 6)
    assert shift(packing.pack(x), packing.sizes).flatten().tolist() == [0, 0, 0, 0, 18, 0, 8, 19, 1, 9, 20, 21, 22]


def test_lstm_states__gaps__are_those_of_a_loop_that_rests():
    cell = torch.nn.LSTMCell(3, 4).double()
    x, packing = random(5, 6, 3), Packing(MASK, 5, 6)
    weights = cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh
    last, hidden, states = LSTMStates.apply(packing.pack(x), packing.sizes, *weights)
    found = torch.cat([torch.zeros(1, 4), states])[packing.latest()]
    found_hidden = torch.cat([torch.zeros(1, 4), hidden])[packing.latest()]
    h, c = torch.zeros(2, 5, 4, dtype=torch.float64)
    for t in range(6):
        new = cell(x[:, t], (h, c))
        h, c = (torch.where(MASK[:, t, None], a, b) for a, b in zip(new, (h, c), strict=True))
        assert_close(found[:, t], c, rtol=0, atol=1e-12)
        assert_close(found_hidden[:, t], h, rtol=0, atol=1e-12)
    assert_close(packing.per_sample(last), h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [[3, 3], [4, 2, 1], [1], []])
def test_lstm_states__gradients__are_those_of_finite_differences(sizes):
    n, shapes = sum(sizes), [(12, 2), (12, 3), (12,)]
    inputs = [random(n, 2), *(random(*shape, seed=i + 1) for i, shape in enumerate(shapes))]
    leaves = [x.requires_grad_() for x in inputs]
    for outputs in (slice(3), slice(1), slice(1, 2), slice(2, 3)):
        assert torch.autograd.gradcheck(lambda x, *weights: LSTMStates.apply(x, sizes, *weights)[outputs], leaves)  # noqa: B023


@pytest.mark.parametrize("sizes", [[3, 3], [4, 2, 1], [1], []])
@pytest.mark.parametrize("noisy", [False, True])
def test_gated_memory__is_a_loop_and_so_are_its_gradients(sizes, noisy):
    n = sum(sizes)
    noise = 2 * torch.rand(n, 5, generator=generator(), dtype=torch.float64) if noisy else None
    shapes = [(n, 5), (n, 4), (5, 4), (4, 3), (4,), (4, 2), (4,)]
    leaves = [random(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]

    def packed(p, k, *weights):
        return GatedMemory.apply(p, noise, k, sizes, *weights)

    p, k, recall, retain, retain_bias, update, update_bias = leaves
    expected = []
    for i in range(sum(sizes[:1])):
        row, u = i, torch.zeros(4, dtype=torch.float64)
        for size in sizes:
            if i < size:
                hidden = torch.relu(p[row] + recall @ u) * (1 if noise is None else noise[row])
                gamma_1 = torch.sigmoid(retain @ hidden[:3] + retain_bias)
                gamma_2 = torch.sigmoid(update @ hidden[3:] + update_bias)
                u = gamma_1 * u + gamma_2 * k[row]
                row += size
        expected.append(u)
    if expected:
        assert_close(packed(*leaves), torch.stack(expected), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(packed, leaves)


# --- the system ------------------------------------------------------------------------------------------------------


def by_hand(module, X, mask):
    """Prediction of one sample at a time, step by step over its grid, from what the class says."""
    predictions = []
    width = sum(module.code_dims.values())
    for i in range(len(next(iter(X.values())))):
        h = {name: torch.zeros(1, k, dtype=torch.float64) for name, k in module.code_dims.items()}
        c, u = dict(h), torch.zeros(1, 4, dtype=torch.float64)
        for t in range(6):
            before = torch.cat(list(c.values()), dim=1)
            for name, cell in module.cells.items():
                if mask[name][i, t]:
                    h[name], c[name] = cell(X[name][i : i + 1, t], (h[name], c[name]))
            if not any(seen[i, t] for seen in mask.values()):
                continue
            window = torch.cat([before, *c.values()], dim=1)
            attended = torch.softmax(module.attention(window), dim=1) * window
            candidate, gate_1, gate_2 = module.read(attended).split([6, 3, 2], dim=1)
            recall_1, recall_2 = module.recall(u).split([3, 2], dim=1)
            gamma_1 = torch.sigmoid(module.retain(torch.relu(gate_1 + recall_1)))
            gamma_2 = torch.sigmoid(module.update(torch.relu(gate_2 + recall_2)))
            u = gamma_1 * u + gamma_2 * torch.tanh(module.candidate[2](torch.relu(candidate)))
        fused = torch.cat([*h.values(), u], dim=1)
        assert fused.shape == (1, width + 4)
        predictions.append(module.head(fused))
    return torch.cat(predictions)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("hidden_dims", [3, (2, 5, 1)])
def test_prediction__is_that_of_a_loop_over_the_steps(masked, hidden_dims):
    module, X = build(n_outputs=2, hidden_dims=hidden_dims), batch()
    mask = masks() if masked else {name: torch.ones(5, 6, dtype=torch.bool) for name in X}
    assert_close(module(X, mask).prediction, by_hand(module, X, mask), rtol=0, atol=1e-10)
    if not masked:
        assert_close(module(X).prediction, by_hand(module, X, mask), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_modalities", [1, 4])
def test_prediction__one_and_four_modalities__is_that_of_a_loop(n_modalities):
    shapes = {f"m{i}": (6, i + 1) for i in range(n_modalities)}
    module, X = build(shapes), batch(shapes)
    assert_close(module(X, masks(shapes)).prediction, by_hand(module, X, masks(shapes)), rtol=0, atol=1e-10)


def test_representation__is_the_last_state_of_an_lstm_over_the_own_steps():
    module, X, mask = build(), batch(), masks()
    representations = module(X, mask).representations
    for name, cell in module.cells.items():
        lstm = torch.nn.LSTM(cell.input_size, cell.hidden_size, batch_first=True).double()
        lstm.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
        for i in range(5):
            steps = X[name][i : i + 1, mask[name][i]]
            expected = lstm(steps)[1][0][0] if steps.shape[1] else torch.zeros(1, 3, dtype=torch.float64)
            assert_close(representations[name][[i]], expected, rtol=0, atol=1e-12)


def test_vector__is_a_sequence_of_one_step():
    vectors = {name: shape[1:] for name, shape in SHAPES.items()}
    X = batch(vectors)
    sequences = {name: x.unsqueeze(1) for name, x in X.items()}
    for missing in ("mean", "token"):
        one_step = {name: (1, *shape) for name, shape in vectors.items()}
        a, b = build(vectors, missing=missing)(X), build(one_step, missing=missing)(sequences)
        assert torch.equal(a.prediction, b.prediction)


def test_token__stands_in_only_where_nothing_was_observed():
    module, X, mask = build(missing="token"), batch(), masks()
    fused = module(X, mask).fused
    for token in module.tokens.values():
        torch.nn.init.constant_(token, 7.0)
    changed = module(X, mask)
    assert (changed.fused[2, :9] == 7).all()
    assert torch.equal(changed.fused[[0, 1, 3]], fused[[0, 1, 3]])
    assert not (changed.representations["m0"] == 7).any()


def test_dropout__acts_in_training_only_and_gradients_follow_it():
    module, X, mask = build(dropout=0.4), batch(), masks()
    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(module(X, mask).fused[:, 9:], module(X, mask).fused[:, 9:])

    shapes = {name: value.shape for name, value in module.named_parameters()}
    flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach().requires_grad_()

    def run(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        parameters = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return torch.func.functional_call(module, parameters, (X, mask)).prediction

    assert torch.autograd.gradcheck(run, flat, fast_mode=True)
    module.eval()
    assert torch.equal(module(X, mask).fused, module(X, mask).fused)
    assert_close(module(X, mask).prediction, by_hand(module, X, mask), rtol=0, atol=1e-10)


def test_dropout_of_gates__keeps_their_scale(monkeypatch):
    module, X = build(dropout=0.4, retain_dim=64, update_dim=64, hidden_dims=2), batch(n=200)
    seen = []
    apply = GatedMemory.apply

    def spy(gates, noise, *arguments):
        seen.append(noise)
        return apply(gates, noise, *arguments)

    monkeypatch.setattr(GatedMemory, "apply", spy)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module.train()(X)
    (noise,) = seen
    assert set(noise.unique().tolist()) == {0.0, 1 / 0.6}
    assert noise.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("hidden_dims", [(), (3, 2), (3, 2, 1, 4)])
def test_hidden_dims_of_another_number__error_says_how_many(hidden_dims):
    with pytest.raises(ValueError, match=r"MemoryFusion needs one width .*hidden_dims=\(.*\) for 3 modalities"):
        build(hidden_dims=hidden_dims)


def test_hidden_dims_per_modality__are_the_widths_of_the_representations():
    module = build(hidden_dims=np.array([2, 5, 1]))
    assert module.code_dims == {"m0": 2, "m1": 5, "m2": 1}
    assert module(batch()).representations["m1"].shape == (5, 5)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.RepeatedSamplesWarning")  # every seventh sample is the same
@pytest.mark.usefixtures("quick_reports")
def test_estimator__a_whole_modality_missing_at_predict_time__is_finite(sequences, y):
    X = {"one": sequences["steps"], "two": 2 * sequences["steps"][:, :, :1]}
    for x in X.values():
        x[3::7] = 0.5
    fusion = MemoryFusion(hidden_dims=4, memory_dim=4)
    model = MDMFusionClassifier(n_estimators=1, fusion=fusion, lam=0.1, max_epochs=2, random_state=0, device="cpu").fit(
        X, y
    )
    probabilities = model.predict_proba({"two": X["two"]})
    assert probabilities.shape == (60, 3) and np.isfinite(probabilities).all()
