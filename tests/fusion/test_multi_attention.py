"""MultiAttentionFusion: against a plain loop, what feeds back, gaps, and the tapped embeddings."""

import pytest
import torch
from torch.testing import assert_close

from sklearn_mdm.fusion import MultiAttentionFusion

SHAPES = {"m0": (5, 3), "m1": (5, 2), "m2": (5, 4)}
# Sample 2 has nothing; m2 lacks sample 1; sample 0 has a step at which nothing was observed.
STEPS = {
    "m0": [[1, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
    "m1": [[1, 0, 0, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
    "m2": [[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
}
MASK = {name: torch.tensor(steps).bool() for name, steps in STEPS.items()}


def batch(shapes=SHAPES, n=4):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn((n, *shape), generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def build(shapes=SHAPES, n_outputs=1, missing="mean", **parameters):
    defaults = {"embed_dim": 3, "hidden_dims": 4, "n_attentions": 2, "reduced_dim": 3, "cross_dim": 2, "head_dim": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MultiAttentionFusion(**{**defaults, **parameters}).build(shapes, n_outputs, missing=missing).double()
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    return module


def by_hand(module, X, mask):
    """Prediction of one sample at a time, step by step over its grid, from what the class says."""
    predictions = []
    n_attentions, cross_dim = module.n_attentions, module.cross.out_features
    for i in range(len(next(iter(X.values())))):
        h = {n: torch.zeros(1, cell.hidden_size, dtype=torch.float64) for n, cell in module.cells.items()}
        c, v = dict(h), torch.zeros(1, cross_dim, dtype=torch.float64)
        for t in range(next(iter(X.values())).shape[1]):
            if not any(seen[i, t] for seen in mask.values()):
                continue
            for name, cell in module.cells.items():
                x = X[name][i : i + 1, t]
                x = module.embeddings[name](x if mask[name][i, t] else torch.zeros_like(x))
                if name in module.tokens and not mask[name][i, t]:
                    x = module.tokens[name].unsqueeze(0)
                gates = torch.cat([x, v], dim=1) @ cell.weight_ih.t() + h[name] @ cell.weight_hh.t()
                into, forget, new, out = (gates + cell.bias_ih + cell.bias_hh).chunk(4, dim=1)
                c[name] = forget.sigmoid() * c[name] + into.sigmoid() * new.tanh()
                h[name] = out.sigmoid() * c[name].tanh()
            state = torch.cat(list(h.values()), dim=1)
            heads = [torch.softmax(part, dim=1) * state for part in module.attention(state).chunk(n_attentions, dim=1)]
            widths = [cell.hidden_size for cell in module.cells.values()]
            per_modality = zip(*(head.split(widths, dim=1) for head in heads), strict=True)
            reduced = [
                torch.relu(module.reduce[name](torch.cat(parts, dim=1)))
                for name, parts in zip(module.cells, per_modality, strict=True)
            ]
            v = module.cross(torch.cat(reduced, dim=1))
        predictions.append(module.head(torch.cat([*h.values(), v], dim=1)))
    return torch.cat(predictions)


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
@pytest.mark.parametrize("hidden_dims", [4, (2, 5, 1)])
def test_prediction__is_that_of_a_loop_over_the_steps(missing, hidden_dims):
    module, X = build(n_outputs=2, missing=missing, hidden_dims=hidden_dims), batch()
    assert_close(module(X, MASK).prediction, by_hand(module, X, MASK), rtol=0, atol=1e-10)
    ones = {name: torch.ones_like(mask) for name, mask in MASK.items()}
    assert_close(module(X).prediction, by_hand(module, X, ones), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_modalities", [1, 4])
def test_prediction__one_and_four_modalities__is_that_of_a_loop(n_modalities):
    shapes = {f"m{i}": (5, i + 1) for i in range(n_modalities)}
    mask = {name: MASK[f"m{i % 3}"] for i, name in enumerate(shapes)}
    module, X = build(shapes), batch(shapes)
    assert_close(module(X, mask).prediction, by_hand(module, X, mask), rtol=0, atol=1e-10)


def test_representation__is_the_mean_embedding_of_the_own_steps():
    module, X = build(), batch()
    representations = module(X, MASK).representations
    for name, embed in module.embeddings.items():
        for i in range(4):
            steps = embed(X[name][i, MASK[name][i]])
            expected = steps.mean(0) if len(steps) else torch.zeros(3, dtype=torch.float64)
            assert_close(representations[name][i], expected, rtol=0, atol=1e-12)


def test_states__hear_of_other_modalities_one_step_later():
    module, X = build(), batch()
    states = module(X).fused[:, :4]  # of m0

    def changed_at(step):
        other = X["m1"].clone()
        other[:, step] += 1
        return module({**X, "m1": other}).fused[:, :4]

    assert torch.equal(changed_at(4), states)
    assert (changed_at(3) != states).any(1).all()


def test_gap_of_one_modality__reads_zeros_while_the_others_go_on():
    module, X = build(), batch()
    gap = torch.ones(4, 5, dtype=torch.bool)
    gap[:, 2] = False
    ones = torch.ones_like(gap)
    zeros = X["m0"].clone()
    zeros[:, 2] = 0
    found = module(X, {"m0": gap, "m1": ones, "m2": ones})
    assert_close(found.prediction, module({**X, "m0": zeros}).prediction, rtol=0, atol=1e-12)
    assert not torch.allclose(found.representations["m0"], module({**X, "m0": zeros}).representations["m0"])


def test_vector__is_a_sequence_of_one_step():
    vectors = {name: shape[1:] for name, shape in SHAPES.items()}
    X = batch(vectors)
    sequences = {name: x.unsqueeze(1) for name, x in X.items()}
    one_step = {name: (1, *shape) for name, shape in vectors.items()}
    assert torch.equal(build(vectors)(X).prediction, build(one_step)(sequences).prediction)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients__are_those_of_finite_differences(masked):
    module, X = build(n_attentions=3, missing="token"), batch()
    shapes = {name: value.shape for name, value in module.named_parameters()}
    flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach().requires_grad_()

    def run(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        parameters = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        output = torch.func.functional_call(module, parameters, (X, MASK if masked else None))
        return torch.cat([output.prediction, *output.representations.values()], dim=1)

    assert torch.autograd.gradcheck(run, flat, fast_mode=True)


def test_hidden_dims_of_another_number__error_says_how_many():
    with pytest.raises(ValueError, match=r"MultiAttentionFusion needs one width .*hidden_dims=\(3, 2\) for 3 modal"):
        build(hidden_dims=(3, 2))
