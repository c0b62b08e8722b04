"""The adaptation gate against a computation of its own, and MAG on word embeddings."""

import numpy as np
import pytest
import torch

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import AdaptationGate, MAGFusion

nan = np.nan


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def reference(gate, states, sides, seen):
    """The formula of the paper, word by word, over the modalities that were observed."""
    p = {name: value.detach().numpy() for name, value in gate.named_parameters()}
    out = states.copy()
    for b, t in np.ndindex(states.shape[:2]):
        z, h = states[b, t], np.zeros(states.shape[2])
        names = [name for name in sides if seen[name][b, t]]
        if not names or gate.beta == 0:
            continue
        for name in names:
            x = sides[name][b, t]
            g = np.maximum(p[f"gates.{name}.weight"] @ np.r_[z, x] + p[f"gates.{name}.bias"], 0)
            h += g * (p[f"projections.{name}.weight"] @ x + p[f"projections.{name}.bias"])
        alpha = min(gate.beta * np.sqrt((z**2).sum()) / (np.sqrt((h**2).sum()) + 1e-6), 1.0)
        v = z + alpha * h
        v = (v - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean() + 1e-5)
        out[b, t] = v * p["norm.weight"] + p["norm.bias"]
    return out


def example(beta=1.0, dropout=0.0):
    gate = AdaptationGate(8, {"audio": 3, "visual": 5}, beta, dropout).double()
    for parameter in gate.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    states = torch.randn(4, 6, 8, dtype=torch.float64)
    sides = {name: torch.randn(4, 6, d, dtype=torch.float64) for name, d in (("audio", 3), ("visual", 5))}
    seen = {name: torch.rand(4, 6) < 0.6 for name in sides}
    return gate, states, sides, seen


def as_numpy(values):
    return {name: value.numpy() for name, value in values.items()}


@pytest.mark.parametrize("beta", [0.05, 1.0, 50.0])
def test_gate__equals_the_formula_of_the_paper(beta):
    gate, states, sides, seen = example(beta)
    expected = reference(gate, states.numpy(), as_numpy(sides), as_numpy(seen))
    np.testing.assert_allclose(gate(states, sides, seen).detach().numpy(), expected, rtol=0, atol=1e-6)
    every = {name: torch.ones_like(mask) for name, mask in seen.items()}
    expected = reference(gate, states.numpy(), as_numpy(sides), as_numpy(every))
    np.testing.assert_allclose(gate(states, sides).detach().numpy(), expected, rtol=0, atol=1e-6)


def test_gate__dropout__zeroes_or_scales_what_the_formula_gives():
    gate, states, sides, seen = example(dropout=0.4)
    expected = reference(gate, states.numpy(), as_numpy(sides), as_numpy(seen))
    found = gate(states, sides, seen).detach().numpy()
    touched = (seen["audio"] | seen["visual"]).numpy()
    kept = found[touched] != 0
    assert 0.5 < kept.mean() < 0.7
    np.testing.assert_allclose(found[touched][kept], expected[touched][kept] / 0.6, rtol=0, atol=1e-6)
    assert (found[~touched] == states.numpy()[~touched]).all()


def test_gate__a_missing_modality__is_as_if_it_were_not_there():
    gate, states, sides, seen = example()
    seen["visual"][:] = False
    alone = AdaptationGate(8, {"audio": 3}, dropout=0.0).double()
    alone.load_state_dict({name: value for name, value in gate.state_dict().items() if "visual" not in name})
    assert torch.equal(gate(states, sides, seen), alone(states, {"audio": sides["audio"]}, {"audio": seen["audio"]}))
    assert gate.projections["visual"].bias.any()  # which arithmetic with zeros would have added


def test_gate__nothing_observed_or_beta_0__passes_words_unchanged_bit_for_bit():
    gate, states, sides, seen = example(dropout=0.5)
    out = gate(states, sides, seen)
    untouched = ~(seen["audio"] | seen["visual"])
    assert untouched.any()
    assert torch.equal(out[untouched], states[untouched])
    assert not torch.equal(out[~untouched], states[~untouched])
    gate.beta = 0.0
    assert torch.equal(gate(states, sides, seen), states)
    assert torch.equal(gate(states, sides), states)


def test_gate__displacement__is_no_longer_than_beta_times_the_word():
    gate, states, sides, _ = example(beta=0.1)
    gate.norm = torch.nn.Identity()
    shift = torch.linalg.vector_norm(gate(states, sides) - states, dim=-1)
    assert (shift <= 0.1 * torch.linalg.vector_norm(states, dim=-1) * (1 + 1e-9)).all()


def test_gradients__reach_both_modalities_and_every_parameter():
    gate, states, sides, seen = example()
    for value in (states, *sides.values()):
        value.requires_grad_()
    gate(states, sides, seen).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in gate.parameters())
    for name, x in sides.items():
        assert not x.grad[~seen[name]].any()
        assert x.grad[seen[name]].any()


# --- on word embeddings ----------------------------------------------------------------------------------------------

SHAPES = {"text": (6, 8), "audio": (3,)}


def test_a_vector__is_repeated_for_every_word():
    vectors = MAGFusion(dropout=0.0).build(SHAPES, 1).eval()
    steps = MAGFusion(dropout=0.0).build({**SHAPES, "audio": (6, 3)}, 1).eval()
    steps.load_state_dict(vectors.state_dict())
    words, audio = torch.randn(4, 6, 8), torch.randn(4, 3)
    mask = {"text": torch.arange(6) < torch.tensor([6, 3, 1, 0])[:, None], "audio": torch.tensor([1, 1, 0, 1]).bool()}
    repeated = audio[:, None].expand(-1, 6, -1)
    expected = steps({"text": words, "audio": repeated}).prediction
    torch.testing.assert_close(vectors({"text": words, "audio": audio}).prediction, expected)
    found = vectors({"text": words, "audio": audio}, mask)
    seen = mask["text"] & mask["audio"][:, None]
    seen[3, 0] = True  # without text there is one word, which has the vector
    expected = steps({"text": words, "audio": repeated}, {"text": mask["text"], "audio": seen})
    torch.testing.assert_close(found.prediction, expected.prediction)


def test_representations__are_the_mean_word_and_the_mean_projection():
    module = MAGFusion().build({**SHAPES, "audio": (6, 3)}, 1).double()
    X = {"text": torch.randn(2, 6, 8).double(), "audio": torch.randn(2, 6, 3).double()}
    representations = module.represent(X)
    torch.testing.assert_close(representations["text"], X["text"].mean(1))
    torch.testing.assert_close(representations["audio"], module.gate.projections["audio"](X["audio"]).mean(1))
    assert module.code_dims == {"text": 8, "audio": 8}


def test_encoder__of_the_text__summarises_the_words():
    for encoder in (MLPEncoder((4,), 5, dropout=0.0), {"text": MLPEncoder((4,), 5, dropout=0.0)}):
        assert MAGFusion().build(SHAPES, 1, encoder=encoder).head.in_features == 5
    with pytest.raises(ValueError, match=r"encoder for its text alone.*'audio'"):
        MAGFusion().build(SHAPES, 1, encoder={"audio": "mlp"})


@pytest.mark.parametrize("cls", [MDMFusionRegressor, MDMFusionClassifier])
def test_estimator__predicts_without_text_and_without_audio(cls, X, y):
    X = {name: np.stack([x, -x], axis=1) for name, x in X.items()}
    X["text"][::6] = nan
    model = cls(n_estimators=1, fusion="mag", lam=0.1, max_epochs=2, random_state=0, modality_dropout=0.3).fit(X, y)
    for name in X:
        found = model.predict({name: np.where(np.isnan(X[name]), 0.0, X[name])})
        assert found.shape == (60,)
    assert len(np.unique(model.transform({"audio": X["audio"]})[:, 0])) > 30  # audio has a say of its own


def test_text__under_another_name(X, y):
    model = MDMFusionRegressor(n_estimators=1, fusion=MAGFusion(text="audio"), lam=0, max_epochs=1).fit(X, y)
    assert model.net_.module_.text == "m0"
    with pytest.raises(ValueError, match=r"reads modality 'words' as text, but X has \['audio', 'text'\].*text=\.\.\."):
        MDMFusionRegressor(n_estimators=1, fusion=MAGFusion(text="words"), lam=0, max_epochs=1).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": -1.0}, "finite beta >= 0, got beta=-1.0"),
        ({"beta": nan}, "finite beta >= 0, got beta=nan"),
        ({"beta": "1"}, "finite beta >= 0, got beta='1'"),
        ({"dropout": 1}, "dropout from 0 to less than 1, got dropout=1"),
        ({"dropout": nan}, "dropout from 0 to less than 1, got dropout=nan"),
        ({"backbone_lr": 0.0}, "finite backbone_lr > 0, got backbone_lr=0.0"),
        ({"backbone_lr": "1"}, "finite backbone_lr > 0, got backbone_lr='1'"),
        ({"memory": 3}, "'memory' should be"),
    ],
)
def test_parameters__out_of_range__error(parameters, message):
    with pytest.raises(ValueError, match=message):
        MAGFusion(**parameters).build(SHAPES, 1)


def test_steps__other_than_the_words__error():
    with pytest.raises(ValueError, match=r"MAGFusion .*'text' 6 steps, 'audio' 4 steps"):
        MAGFusion().build({"text": (6, 8), "audio": (4, 3)}, 1)
    with pytest.raises(ValueError, match=r"MAGFusion .*'audio' 4 steps, 'text' a vector"):
        MAGFusion().build({"audio": (4, 3), "text": (8,)}, 1)
