"""Every fusion system and encoder equals a slow numpy version of its equations, for the same inputs and weights.

The versions are in ``reference_fusion.py``; what is here says which tensor of a module plays which role in them.
"""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_mdm.encoders import GRUEncoder, LSTMEncoder, MLPEncoder, TransformerEncoder
from sklearn_mdm.encoders._steps import last_state, mean_state
from sklearn_mdm.fusion import (
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)

from . import reference_fusion as reference

N = 6
FEATURES = {"m0": 3, "m1": 2, "m2": 4}


# --- inputs --------------------------------------------------------------------------------------------------------


def inputs(n_modalities, n_steps, masked, seed):
    """Tensors (B, T, d), or (B, d) without n_steps, and masks or None. What a mask hides is garbage."""
    rng = np.random.default_rng(seed)
    steps = dict.fromkeys(FEATURES, n_steps) if n_steps != "mixed" else {"m0": 5, "m1": None, "m2": 3}
    X, seen = {}, {}
    for name in list(FEATURES)[:n_modalities]:
        n = steps[name] or 1
        X[name] = torch.tensor(rng.normal(size=(N, n, FEATURES[name])))
        seen[name] = torch.tensor(rng.random((N, n)) < 0.7)  # gaps in one modality
        seen[name][0, : n // 2] = False  # a late start and an early end, in all modalities
        seen[name][1, (n + 1) // 2 :] = False
        seen[name][4] = True
    seen["m0"][2] = seen[name][3] = False  # samples without the first modality, and without the last
    nothing = ~torch.cat(list(seen.values()), dim=1).any(1)
    seen[name][nothing, 0] = True  # every sample has something
    if masked:
        for name in X:
            X[name][~seen[name]] = 1e3
    for name in X:
        if steps[name] is None:
            X[name], seen[name] = X[name].squeeze(1), seen[name].squeeze(1)
    return X, seen if masked else None


def without_m1():
    """A batch in which m1 was never observed, and the others have gaps."""
    X, _ = inputs(3, 4, False, seed=1)
    mask = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in X.items()}
    mask["m0"][0, 1:] = mask["m1"][:] = mask["m2"][:, 0] = False
    return {name: torch.where(mask[name].unsqueeze(2), x, 1e3) for name, x in X.items()}, mask


def samples(X, mask):
    """Sample by sample: arrays (T, d) by modality, and which of their steps were observed. A vector is one step."""
    for s in range(N):
        x = {name: np.atleast_2d(values[s].numpy()) for name, values in X.items()}
        if mask is None:
            yield x, {name: np.ones(len(steps), bool) for name, steps in x.items()}
        else:
            yield x, {name: np.atleast_1d(mask[name][s].numpy()) for name in X}


def build(fusion, X, seed, n_outputs=2, **options):
    """The module in float64, with weights of its own and none of them at zero, ready to predict."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = fusion.build({name: tuple(x.shape[1:]) for name, x in X.items()}, n_outputs, **options).double()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


# --- which tensor is what ------------------------------------------------------------------------------------------


def array(tensor):
    return tensor.detach().numpy()


def affine(layer):
    return array(layer.weight), np.zeros(layer.out_features) if layer.bias is None else array(layer.bias)


def layers(sequential):
    return [affine(layer) for layer in sequential if isinstance(layer, torch.nn.Linear)]


def lstm_gates(cell, suffix=""):
    W, U, b_x, b_h = (
        np.split(array(getattr(cell, name + suffix)), 4) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return {gate: (W[k], U[k], b_x[k] + b_h[k]) for k, gate in enumerate("ifgo")}


def gru_gates(cell, suffix=""):
    parts = [
        np.split(array(getattr(cell, name + suffix)), 3) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    return {gate: tuple(part[k] for part in parts) for k, gate in enumerate("rzn")}


def stacked(network, gates):
    return [[gates(network, f"_l{k}")] for k in range(network.num_layers)]


def norm(layer):
    return array(layer.weight), array(layer.bias)


def transformer_layer(layer):
    attention, (W, b) = layer.self_attn, (array(layer.self_attn.in_proj_weight), array(layer.self_attn.in_proj_bias))
    W, b = (part.reshape(3, attention.num_heads, attention.head_dim, -1) for part in (W, b))
    heads = [{role: (W[k, n], b[k, n, :, 0]) for k, role in enumerate("qkv")} for n in range(attention.num_heads)]
    return {
        "heads": heads,
        "out": affine(attention.out_proj),
        "norm1": norm(layer.norm1),
        "norm2": norm(layer.norm2),
        "feedforward": [affine(layer.linear1), affine(layer.linear2)],
    }


# --- encoders ------------------------------------------------------------------------------------------------------


def recurrent_representation(states_of, gates, encoder, x, seen):
    pool = {last_state: reference.last_state, mean_state: reference.mean_state}[encoder.pool]
    state = pool(states_of, stacked(encoder.network, gates), x, seen)
    return state if isinstance(encoder.out, torch.nn.Identity) else reference.affine(affine(encoder.out), state)


def transformer_representation(encoder, x, seen):
    roles = {
        "embed": affine(encoder.embed),
        "layers": [transformer_layer(layer) for layer in encoder.layers],
        "norm": norm(encoder.norm),
        "out": affine(encoder.out),
    }
    return reference.transformer_representation(roles, x, seen)


def mlp_representation(encoder, x, seen):
    summary = reference.mean_and_std(x, seen) if encoder.pool else np.where(seen, x, 0)[0]
    return reference.mlp(layers(encoder.layers), summary)


lstm_representation = partial(recurrent_representation, reference.lstm_states, lstm_gates)
gru_representation = partial(recurrent_representation, reference.gru_states, gru_gates)


def representation(encoder, x, seen):
    """Code of one sample by any of the encoders."""
    if hasattr(encoder, "network"):
        return (lstm_representation if isinstance(encoder.network, torch.nn.LSTM) else gru_representation)(
            encoder, x, seen
        )
    return (transformer_representation if hasattr(encoder, "embed") else mlp_representation)(encoder, x, seen)


# --- systems -------------------------------------------------------------------------------------------------------
# Each function returns prediction, fused representation and representations of one sample.


def encoded(module, x, seen):
    """Codes by modality, and the same with tokens for the missing modalities."""
    representations = {
        name: representation(encoder, x[name], seen[name]) for name, encoder in module.encoders.encoders.items()
    }
    tokens = module.encoders.tokens
    return representations, [
        z if tokens is None or seen[name].any() else array(tokens[name]) for name, z in representations.items()
    ]


def late(module, x, seen):
    representations, _ = encoded(module, x, seen)
    weighted = reference.late_fusion(
        [layers(head) for head in module.heads.values()],
        array(module.log_weights),
        list(representations.values()),
        [seen[name].any() for name in representations],
    )
    return sum(weighted), np.concatenate(weighted), representations


def tensor(module, x, seen):
    representations, filled = encoded(module, x, seen)
    *hidden, out = [*layers(module.hidden), affine(module.out)]
    products = reference.outer_product(filled, one="last").ravel()
    fused = reference.relu(reference.mlp(hidden, products))
    return reference.affine(out, fused), fused, representations


def low_rank(module, x, seen):
    representations, filled = encoded(module, x, seen)
    n_outputs, rank = len(module.bias), len(module.rank_weights)
    factors = []
    for factor in module.factors.values():
        W, b = affine(factor)
        factors.append(np.concatenate([W, b[:, None]], axis=1).reshape(rank, n_outputs, -1).swapaxes(1, 2))
    fuse = partial(reference.low_rank_fusion, factors, representations=filled, one="last")
    prediction = fuse(array(module.rank_weights), array(module.bias))
    # The product of one rank is the prediction that it would give alone.
    fused = np.concatenate([fuse(alone, np.zeros(n_outputs)) for alone in np.eye(rank)])
    return prediction, fused, representations


def embedded(module, x, seen):
    """What the system reads of each modality, what it reads at a gap, and the representations."""
    width = module.code_dims["m0"]
    steps = [[reference.affine(affine(module.embeddings[name]), step) for step in x[name]] for name in x]
    gaps = [array(module.tokens[name]) if len(module.tokens) else np.zeros(width) for name in x]
    representations = {}
    for name, embeddings in zip(x, steps, strict=True):
        observed = [step for step, there in zip(embeddings, seen[name], strict=True) if there]
        representations[name] = sum(observed) / len(observed) if observed else np.zeros(width)
    return steps, gaps, representations


def ef_lstm(module, x, seen):
    steps, gaps, representations = embedded(module, x, seen)
    fused = reference.early_fusion(stacked(module.lstm, lstm_gates), steps, gaps, list(seen.values()))
    return reference.mlp(layers(module.head), fused), fused, representations


def multi_attention(module, x, seen):
    steps, gaps, representations = embedded(module, x, seen)
    cells, reduce = [], []
    for name, width in zip(x, module.hidden_dims, strict=True):
        # The cell reads embedding and cross-view code side by side.
        gates = lstm_gates(module.cells[name])
        split = module.code_dims[name]
        cells.append({gate: (W[:, :split], U, W[:, split:], b) for gate, (W, U, b) in gates.items()})
        reduce.append([affine(module.reduce[name])])
        assert reduce[-1][0][0].shape[1] == module.n_attentions * width
    W, b = (np.split(part, module.n_attentions) for part in affine(module.attention))
    roles = {
        "cells": cells,
        "attention": [[head] for head in zip(W, b, strict=True)],
        "reduce": reduce,
        "map": [affine(module.cross)],
    }
    h, z = reference.multi_attention_fusion(roles, steps, gaps, list(seen.values()))
    fused = np.concatenate([*h, z])
    return reference.mlp(layers(module.head), fused), fused, representations


def memory(module, x, seen):
    names = list(x)
    # The first layers of candidate, retain gate and update gate are read in one product each.
    [second] = layers(module.candidate)
    starts = np.cumsum([second[0].shape[1], module.retain.in_features])
    (W, b), recall = affine(module.read), np.split(array(module.recall.weight), [module.retain.in_features])
    W, b = np.split(W, starts), np.split(b, starts)
    roles = {
        "lstms": [lstm_gates(module.cells[name]) for name in names],
        "attention": layers(module.attention),
        "candidate": [(W[0], b[0]), second],
        "retain": [(np.hstack([W[1], recall[0]]), b[1]), affine(module.retain)],
        "update": [(np.hstack([W[2], recall[1]]), b[2]), affine(module.update)],
    }
    h, u = reference.memory_fusion(roles, [x[name] for name in names], [seen[name] for name in names])
    representations = dict(zip(names, h, strict=True))
    filled = [
        array(module.tokens[n]) if len(module.tokens) and not seen[n].any() else representations[n] for n in names
    ]
    fused = np.concatenate([*filled, u])
    return reference.mlp(layers(module.head), fused), fused, representations


def utterance(encoder, x, seen):
    if not hasattr(encoder, "first"):
        return np.where(seen, x[0], 0)
    first, second = (
        [lstm_gates(network, suffix) for suffix in ("_l0", "_l0_reverse")]
        for network in (encoder.first, encoder.second)
    )
    return reference.utterance({"first": first, "norm": norm(encoder.norm), "second": second}, x, seen)


def misa_parts(module, x, seen):
    utterances = []
    for name, encoder in module.encoders.encoders.items():
        token = module.encoders.tokens is not None and not seen[name].any()
        utterances.append(array(module.encoders.tokens[name]) if token else utterance(encoder, x[name], seen[name]))
    roles = {
        "project": [affine(module.project[name][0]) for name in x],
        "norms": [norm(module.project[name][2]) for name in x],
        "private": [affine(module.private[name]) for name in x],
        "shared": affine(module.shared),
        "decoders": [affine(module.decode[name]) for name in x],
    }
    return reference.misa_parts(roles, utterances)


def misa(module, x, seen):
    projected, private, shared, _ = misa_parts(module, x, seen)
    joint = reference.misa_fused(transformer_layer(module.attend), private, shared)
    fused = reference.relu(reference.affine(affine(module.fuse[0]), joint))
    return reference.affine(affine(module.out), fused), fused, dict(zip(x, projected, strict=True))


SYSTEMS = {
    "late": (LateFusion(hidden_dims=(5,), dropout=0.0), late),
    "late_even": (LateFusion(hidden_dims=(5, 4), weights="even", dropout=0.0), late),
    "tensor": (TensorFusion(hidden_dims=(5, 4)), tensor),
    "low_rank": (LowRankFusion(rank=3), low_rank),
    "ef_lstm": (EarlyFusionLSTM(embed_dim=3, hidden_dim=4), ef_lstm),
    "ef_lstm_2": (EarlyFusionLSTM(embed_dim=2, hidden_dim=3, n_layers=2), ef_lstm),
    "memory": (
        MemoryFusion(memory_dim=4, attention_dim=5, candidate_dim=2, retain_dim=3, update_dim=6, head_dim=5),
        memory,
    ),
    "multi_attention": (
        MultiAttentionFusion(embed_dim=3, n_attentions=3, reduced_dim=5, cross_dim=4, head_dim=5),
        multi_attention,
    ),
    "misa": (MISAFusion(hidden_dim=4, n_heads=2, feedforward_dim=6), misa),
}
ALIGNED = ("ef_lstm", "ef_lstm_2", "memory", "multi_attention")
SEQUENCE_ENCODERS = {
    "late": MLPEncoder((4,), 3, dropout=0.0),
    "tensor": LSTMEncoder(4, 2),
    "low_rank": LSTMEncoder(4, 3),
}


def build_system(system, X, missing, seed):
    fusion, options = clone(SYSTEMS[system][0]), {}
    if system in ("memory", "multi_attention"):
        fusion.set_params(hidden_dims=(2, 4, 3)[: len(X)])
    if system in SEQUENCE_ENCODERS:
        vector = MLPEncoder((4,), 3, dropout=0.0)
        options["encoder"] = {name: SEQUENCE_ENCODERS[system] if x.dim() == 3 else vector for name, x in X.items()}
    return build(fusion, X, seed, missing=missing, **options)


def expected(system, module, X, mask):
    rows = [SYSTEMS[system][1](module, x, seen) for x, seen in samples(X, mask)]
    predictions, fused, representations = zip(*rows, strict=True)
    return np.array(predictions), np.array(fused), {name: np.array([z[name] for z in representations]) for name in X}


CASES = pytest.mark.parametrize(
    ("n_modalities", "n_steps", "masked", "missing"),
    [
        (n_modalities, n_steps, masked, missing)
        for n_modalities in (1, 2, 3)
        for n_steps in (None, 1, 7)
        for masked, missing in ((False, "mean"), (True, "mean"), (True, "token"))
        if not masked or n_modalities * (n_steps or 1) > 1  # a sample has something
    ],
)
SEEDS = pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])


def assert_equal_to_reference(system, X, mask, missing, seed):
    module = build_system(system, X, missing, seed)
    output = module(X, mask)
    predictions, fused, representations = expected(system, module, X, mask)
    assert_allclose(array(output.prediction), predictions, rtol=1e-9, atol=1e-11)
    assert_allclose(array(output.fused), fused, rtol=1e-9, atol=1e-11)
    for name, z in module.represent(X, mask).items():
        assert_allclose(array(z), representations[name], rtol=1e-9, atol=1e-11)
        assert_allclose(array(output.representations[name]), representations[name], rtol=1e-9, atol=1e-11)


@SEEDS
@CASES
@pytest.mark.parametrize("system", SYSTEMS)
def test_system__same_weights__equals_its_equations(system, n_modalities, n_steps, masked, missing, seed):
    assert_equal_to_reference(system, *inputs(n_modalities, n_steps, masked, seed), missing, seed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("system", [system for system in SYSTEMS if system not in ALIGNED])
def test_system__vectors_beside_sequences__equals_its_equations(system, masked):
    assert_equal_to_reference(system, *inputs(3, "mixed", masked, seed=0), "token", seed=0)


@pytest.mark.parametrize("missing", ["mean", "token"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_system__modality_that_the_batch_lacks__equals_its_equations(system, missing):
    X, mask = without_m1()
    assert_equal_to_reference(system, X, mask, missing, seed=1)


def weighted_sum(prediction, fused, representations, seed):
    """One number that every entry of an output changes, for arrays and tensors."""
    rng = np.random.default_rng(seed)
    values = [prediction, fused, *representations.values()]
    weights = [rng.normal(size=tuple(value.shape)) for value in values]
    return sum(((torch.tensor(w) if torch.is_tensor(v) else w) * v).sum() for w, v in zip(weights, values, strict=True))


def assert_slopes(module, value, step=1e-6):
    """In each part of a module, the gradient along a random direction is a central difference of the numpy version."""
    generator = torch.Generator().manual_seed(5)
    for name, part in [*module.named_children(), ("itself", module)]:
        parameters = [p for p in part.parameters(recurse=name != "itself") if p.requires_grad]
        start = [parameter.detach().clone() for parameter in parameters]
        directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
        slope = 0.0
        for sign in (1, -1):
            for parameter, origin, direction in zip(parameters, start, directions, strict=True):
                parameter.data = origin + sign * step * direction
            slope += sign * value() / (2 * step)
        gradient = 0.0
        for parameter, origin, direction in zip(parameters, start, directions, strict=True):
            parameter.data = origin
            if parameter.grad is not None:  # a token has none where nothing is missing
                gradient += (parameter.grad * direction).sum().item()
        assert gradient == pytest.approx(slope, rel=1e-5, abs=1e-6), name


def misa_penalty(module, X, mask):
    """Penalty of a batch, from the parts of its samples."""
    rows = list(samples(X, mask))
    by_sample = [misa_parts(module, x, seen) for x, seen in rows]
    parts = [[np.array([sample[part][m] for sample in by_sample]) for m in range(len(X))] for part in range(4)]
    losses = reference.misa_losses(*parts, [np.array([seen[name].any() for _, seen in rows]) for name in X])
    return sum(weight * loss for weight, loss in zip(module.weights, losses, strict=True))


def training_misa(X, seed, missing):
    fusion = MISAFusion(4, 2, 6, dropout=0.0, sim_weight=0.7, diff_weight=0.4, recon_weight=1.3)
    return build(fusion, X, seed, missing=missing).train()


@SEEDS
@CASES
def test_misa__in_training__its_penalty_equals_its_equations(n_modalities, n_steps, masked, missing, seed):
    X, mask = inputs(n_modalities, n_steps, masked, seed)
    module = training_misa(X, seed, missing)
    assert module(X, mask).penalty.item() == pytest.approx(misa_penalty(module, X, mask), rel=1e-9)


def test_misa__modality_that_the_batch_lacks__its_penalty_equals_its_equations():
    X, mask = without_m1()
    module = training_misa(X, 1, "token")
    assert module(X, mask).penalty.item() == pytest.approx(misa_penalty(module, X, mask), rel=1e-9)


def test_misa__modality_that_is_the_same_in_all_rows__overlaps_with_nothing():
    """In single precision, where the centred rows are rounding errors."""
    X = {"m0": torch.full((32, 1), -0.3), "m1": torch.zeros(32, 5)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MISAFusion(sim_weight=0.0, recon_weight=0.0).build({"m0": (1,), "m1": (5,)}, 1).train()
    assert module(X).penalty.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_misa__gradient_of_its_penalty__is_the_slope_of_its_equations(masked):
    X, mask = inputs(3, 5, masked, seed=3)
    module = training_misa(X, 3, "token")
    module(X, mask).penalty.backward()
    assert_slopes(module, lambda: misa_penalty(module, X, mask))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("system", SYSTEMS)
def test_gradient__in_every_weight__is_the_slope_of_the_equations(system, masked):
    X, mask = inputs(3, 5, masked, seed=3)
    module = build_system(system, X, "token", seed=3)
    output = module(X, mask)
    weighted_sum(output.prediction, output.fused, output.representations, seed=4).backward()
    assert_slopes(module, lambda: weighted_sum(*expected(system, module, X, mask), seed=4))


ENCODERS = {
    "mlp": MLPEncoder((5, 4), 3, dropout=0.0),
    "lstm": LSTMEncoder(4, 3),
    "lstm_2": LSTMEncoder(4, None, n_layers=2),
    "lstm_mean": LSTMEncoder(4, 3, pooling="mean"),
    "gru": GRUEncoder(4, 3),
    "gru_2": GRUEncoder(4, None, n_layers=2),
    "gru_last": GRUEncoder(4, 3, pooling="last"),
    "transformer": TransformerEncoder(d_model=6, n_heads=3, out_dim=4),
    "transformer_2": TransformerEncoder(d_model=4, n_heads=1, n_layers=2, out_dim=3),
}


@SEEDS
@pytest.mark.parametrize(("n_steps", "missing_share"), [(1, None), (1, 0.4), (9, None), (9, 0.2), (9, 0.7)], ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoder__same_weights__equals_its_equations(encoder, n_steps, missing_share, seed):
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(8, n_steps, 3)))
    seen = torch.ones(8, n_steps, dtype=torch.bool)
    if missing_share is not None:
        seen = torch.tensor(rng.random((8, n_steps)) >= missing_share)
        seen[0], seen[1] = False, True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ENCODERS[encoder].build((n_steps, 3)).double().eval()
    z = module(torch.where(seen.unsqueeze(2), x, 0), None if missing_share is None else seen)
    expected_representations = np.array([representation(module, x[s].numpy(), seen[s].numpy()) for s in range(8)])
    assert_allclose(array(z), expected_representations, rtol=1e-9, atol=1e-11)


def test_tensor_fusion__products_beyond_the_memory_limit__change_nothing(monkeypatch):
    X, mask = inputs(3, 4, True, seed=0)
    monkeypatch.setattr("sklearn_mdm.fusion._tensor.MAX_PRODUCTS_AT_ONCE", 60)  # two samples at a time
    module = build_system("tensor", X, "token", seed=0)
    assert module.rows_at_once == 2
    assert_allclose(array(module(X, mask).prediction), expected("tensor", module, X, mask)[0], rtol=1e-9, atol=1e-11)
