"""What every fusion system keeps to, whatever it computes."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.func import functional_call

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, MDMNet
from sklearn_mdm.encoders import LSTMEncoder, MLPEncoder
from sklearn_mdm.fusion import FUSIONS, FusionOutput

SYSTEMS = {cls.__name__: cls for cls in FUSIONS.values()}
# These read all modalities at once, step by step; the others summarise each modality first.
ALIGNED = {"EarlyFusionLSTM", "MemoryFusion", "MultiAttentionFusion"}
# And this one takes vectors beside sequences, but sequences of one length.
ONE_LENGTH = {*ALIGNED, "MAGFusion"}
SMALL = {
    "ConcatFusion": {"hidden_dims": (16,), "dropout": 0.0},
    "EarlyFusionLSTM": {"embed_dim": 3, "hidden_dim": 4},
    "LateFusion": {"hidden_dims": (16,), "dropout": 0.0},
    "LowRankFusion": {"rank": 2},
    "MAGFusion": {"dropout": 0.0},
    "MISAFusion": {"hidden_dim": 8, "n_heads": 2, "feedforward_dim": 12, "dropout": 0.0},
    "MemoryFusion": {
        "hidden_dims": 3,
        "memory_dim": 3,
        "attention_dim": 4,
        "candidate_dim": 4,
        "retain_dim": 4,
        "update_dim": 4,
        "head_dim": 16,
    },
    "MultiAttentionFusion": {
        "embed_dim": 3,
        "hidden_dims": 3,
        "n_attentions": 2,
        "reduced_dim": 12,
        "cross_dim": 3,
        "head_dim": 16,
    },
    "TensorFusion": {"hidden_dims": (16, 12)},
}
VECTORS = {"m0": (3,), "m1": (2,), "m2": (4,)}
SEQUENCES = {"m0": (5, 3), "m1": (5, 2), "m2": (5, 4)}
MIXED = {"m0": (5, 3), "m1": (2,), "m2": (7, 4)}
# Every sample has something; m0 lacks sample 1, m1 samples 2 and 5, m2 sample 1, and sample 3 has gaps.
STEPS = {
    "m0": [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]],
    "m1": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
    "m2": [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0]],
}
nan = float("nan")


FORMS = {"vectors": VECTORS, "sequences": SEQUENCES, "mixed": MIXED}


def pytest_generate_tests(metafunc):
    """Every system, and where a test takes shapes, on every form of X that the system reads."""
    arguments = [name for name in ("system", "shapes") if name in metafunc.fixturenames]
    if arguments == ["system"]:
        metafunc.parametrize("system", list(SYSTEMS))
    elif arguments == ["system", "shapes"]:
        pairs = [(s, form) for s in SYSTEMS for form in FORMS if not (s in ONE_LENGTH and form == "mixed")]
        values = [pytest.param(system, FORMS[form], id=f"{system}-{form}") for system, form in pairs]
        metafunc.parametrize(arguments, values)


def encoder_of(system, shapes):
    if system in ALIGNED:
        return "auto"
    if system == "MAGFusion":
        return {"m0": LSTMEncoder(8, 8)}
    return {
        name: LSTMEncoder(8, 8) if len(shape) == 2 else MLPEncoder((16,), 8, dropout=0.0)
        for name, shape in shapes.items()
    }


def build(system, shapes, n_outputs=1, missing="mean"):
    """A small module of float64 in training mode, without dropout and without a zero among its parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fusion = SYSTEMS[system](**SMALL[system])
        if system == "MAGFusion":
            fusion.text = "m0"
        module = fusion.build(shapes, n_outputs, encoder=encoder_of(system, shapes), missing=missing)
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
        if system == "MAGFusion":
            for gate in module.gate.gates.values():
                gate.bias.data += 2  # rectified gates may be shut altogether, so that a modality has no say
    return module.double().train()


def batch(shapes, n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn((n, *shape), generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def mask_of(shapes):
    mask = {}
    for name, shape in shapes.items():
        steps = torch.tensor(STEPS[name]).bool()
        if len(shape) == 1:
            mask[name] = steps.any(1)
        else:
            mask[name] = torch.nn.functional.pad(steps, (0, shape[0] - 5))
    return mask


def close(a, b, tolerance=1e-10):
    """Compare the outputs of two passes."""
    assert list(a.representations) == list(b.representations)
    pairs = [(a.prediction, b.prediction), (a.fused, b.fused)]
    pairs += [(a.representations[name], b.representations[name]) for name in a.representations]
    assert (a.penalty is None) == (b.penalty is None)
    pairs += [] if a.penalty is None else [(a.penalty, b.penalty)]
    for x, y in pairs:
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance)


def rows(values, index):
    return {name: value[index] for name, value in values.items()}


# --- names and shapes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FUSIONS))
def test_name__of_paper_or_of_package__builds_its_system(name, X, y):
    model = MDMFusionRegressor(n_estimators=1, fusion=name, encoder="auto", lam=0, max_epochs=1, random_state=0).fit(
        X, y
    )
    small = FUSIONS[name]().build({"audio": (3,), "text": (2,)}, 1)
    assert type(model.net_.module_) is type(small)


@pytest.mark.parametrize(("name", "reads_steps"), [("tensor", True), ("low_rank", True), ("concat", False)])
def test_auto_encoder__of_a_sequence__is_the_one_of_the_paper(name, reads_steps):
    module = FUSIONS[name]().build({"m0": (5, 3), "m1": (2,)}, 1)
    kinds = [any(isinstance(part, torch.nn.LSTM) for part in e.modules()) for e in module.encoders.encoders.values()]
    assert kinds == [reads_steps, False]
    assert module.code_dims == {"m0": 32, "m1": 32}


def test_constructor__stores_its_parameters_and_nothing_else(system):
    cls = SYSTEMS[system]
    assert cls().get_params().keys() == inspect.signature(cls).parameters.keys()
    assert cls(**SMALL[system]).get_params().items() >= SMALL[system].items()


@pytest.mark.parametrize(("n_outputs", "missing"), [(1, "mean"), (3, "token"), (2, "skip")])
@pytest.mark.parametrize("masked", [False, True])
def test_output__shapes__are_those_of_the_contract(system, shapes, n_outputs, missing, masked):
    module = build(system, shapes, n_outputs, missing)
    output = module(batch(shapes), mask_of(shapes) if masked else None)
    assert isinstance(output, FusionOutput)
    assert output.prediction.shape == (6, n_outputs)
    assert output.fused.dim() == 2 and len(output.fused) == 6
    assert list(output.representations) == list(module.code_dims) == list(shapes)
    for name, z in output.representations.items():
        assert z.shape == (6, module.code_dims[name])
    assert output.penalty is None or output.penalty.shape == ()
    for value in (output.prediction, output.fused, *output.representations.values()):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("shape", [(3,), (5, 3)])
def test_output__one_modality__is_enough(system, shape):
    module = build(system, {"m0": shape}, 2)
    output = module(batch({"m0": shape}))
    assert output.prediction.shape == (6, 2)
    output.prediction.sum().backward()
    assert torch.isfinite(output.prediction).all()


@pytest.mark.parametrize("masked", [False, True])
def test_represent__is_the_representations_of_forward(system, shapes, masked):
    module, X, mask = build(system, shapes), batch(shapes), mask_of(shapes) if masked else None
    alone, whole = module.represent(X, mask), module(X, mask).representations
    assert list(alone) == list(whole)
    for name in alone:
        assert torch.equal(alone[name], whole[name])


def test_mask_of_ones__is_no_mask(system, shapes):
    module, X = build(system, shapes), batch(shapes)
    ones = {name: torch.ones_like(mask) for name, mask in mask_of(shapes).items()}
    close(module(X, ones), module(X))


def test_evaluation__without_dropout__is_as_in_training(system, shapes):
    module, X, mask = build(system, shapes), batch(shapes), mask_of(shapes)
    expected = module(X, mask)._replace(penalty=None)
    module.eval()
    with torch.no_grad():
        close(module(X, mask)._replace(penalty=None), expected)


def test_prediction__depends_on_every_modality(system, shapes):
    module, X = build(system, shapes), batch(shapes)
    for x in X.values():
        x.requires_grad_()
    module(X).prediction.sum().backward()
    for x in X.values():
        assert x.grad.flatten(1).any(1).all()


# --- z_m is a function of modality m only ----------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_representation__other_modalities_change__is_the_same_bit_for_bit(system, shapes, masked):
    module, X, mask = build(system, shapes), batch(shapes), mask_of(shapes) if masked else None
    ones = {name: torch.ones_like(seen) for name, seen in mask_of(shapes).items()}
    before = module(X, mask).representations
    for name in shapes:
        others = {other: 3 * x if other != name else x for other, x in X.items()}
        hidden = dict(mask or ones)
        for other in shapes:
            if other != name:
                hidden[other] = hidden[other].clone()
                hidden[other][[0, 4]] = False
        assert torch.equal(module(others, mask).representations[name], before[name])
        for changed in (X, others):
            assert torch.equal(module(changed, hidden).representations[name], before[name])
            assert torch.equal(module.represent(changed, hidden)[name], before[name])


def test_representation__own_modality_changes__follows(system, shapes):
    module, X = build(system, shapes), batch(shapes)
    before = module(X).representations
    for name in shapes:
        after = module({**X, name: X[name] + 1}).representations[name]
        assert (after != before[name]).any(1).all()


# --- what was not observed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_garbage_under_the_mask__changes_neither_outputs_nor_gradients(system, shapes, missing):
    module, mask = build(system, shapes, missing=missing), mask_of(shapes)

    def run(value):
        module.zero_grad()
        X = {name: torch.where(mask[name].unsqueeze(-1), x, value) for name, x in batch(shapes).items()}
        for x in X.values():
            x.requires_grad_()
        output = module(X, mask)
        loss = output.prediction.sum() + sum(z.square().sum() for z in output.representations.values())
        (loss + (output.penalty or 0)).backward()
        return output, [p.grad.clone() for p in module.parameters() if p.grad is not None], X

    expected, gradients, _ = run(0.5)
    for garbage in (0.0, 1e3, -1e30, nan, float("inf")):
        found, other_gradients, X = run(garbage)
        close(found, expected)
        for a, b in zip(gradients, other_gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        for name, x in X.items():
            assert not x.grad[~mask[name]].any()


def longer(X, mask, n, value=nan):
    """Append n steps that were not observed to every sequence."""
    X, mask = dict(X), dict(mask)
    for name, x in X.items():
        if x.dim() == 3:
            X[name] = torch.cat([x, torch.full((len(x), n, x.shape[2]), value, dtype=x.dtype)], dim=1)
            mask[name] = torch.nn.functional.pad(mask[name], (0, n))
    return X, mask


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_appended_steps__change_nothing(system, shapes, missing):
    module, X, mask = build(system, shapes, missing=missing), batch(shapes), mask_of(shapes)
    expected = module(X, mask)
    for n in (1, 20):
        close(module(*longer(X, mask, n)), expected)


def test_steps_without_any_observation__are_as_if_they_were_not_there(system):
    module, X = build(system, SEQUENCES), batch(SEQUENCES)
    gap = [0, 2, 3]
    mask = {name: torch.ones(6, 5, dtype=torch.bool) for name in X}
    for seen in mask.values():
        seen[:, gap] = False
    close(module(X, mask), module({name: x[:, [1, 4]] for name, x in X.items()}))


def test_batch_mates__change_nothing(system, shapes):
    module, X, mask = build(system, shapes, missing="token"), batch(shapes), mask_of(shapes)
    together = module(X, mask)
    for i in range(6):
        alone = module(rows(X, [i]), rows(mask, [i]))
        torch.testing.assert_close(alone.prediction, together.prediction[[i]], rtol=0, atol=1e-10)
        torch.testing.assert_close(alone.fused, together.fused[[i]], rtol=0, atol=1e-10)
        for name, z in alone.representations.items():
            torch.testing.assert_close(z, together.representations[name][[i]], rtol=0, atol=1e-10)


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_a_modality_that_no_sample_has__leaves_a_finite_prediction(system, shapes, missing):
    module, X = build(system, shapes, 2, missing), batch(shapes)
    ones = {name: torch.ones_like(seen) for name, seen in mask_of(shapes).items()}
    whole = module(X, ones).prediction
    for name, x in X.items():
        # As the estimators pass it: with a single step.
        absent = torch.zeros_like(x[:, :1]) if x.dim() == 3 else torch.zeros_like(x)
        output = module({**X, name: absent}, {**ones, name: torch.zeros(absent.shape[:-1], dtype=torch.bool)})
        assert torch.isfinite(output.prediction).all()
        assert (output.prediction != whole).any(1).all()
        close(output, module(X, {**ones, name: torch.zeros_like(ones[name])}))


def test_a_sample_without_anything__is_finite(system, shapes):
    module, X, mask = build(system, shapes, missing="token"), batch(shapes), mask_of(shapes)
    for seen in mask.values():
        seen[2] = False
    output = module(X, mask)
    assert torch.isfinite(output.prediction).all() and torch.isfinite(output.fused).all()


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_gradients__are_those_of_finite_differences(system, shapes, masked):
    module = build(system, shapes, 2, missing="token")
    X, mask = batch(shapes, seed=1), mask_of(shapes) if masked else None
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    values = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def run(*tensors):
        inputs = dict(zip(X, tensors[: len(X)], strict=True))
        parameters = dict(zip(names, tensors[len(X) :], strict=True))
        output = functional_call(module, parameters, (inputs, mask))
        penalty = () if output.penalty is None else (output.penalty,)
        return output.prediction, output.fused, *output.representations.values(), *penalty

    inputs = [x.clone().requires_grad_() for x in X.values()]
    assert torch.autograd.gradcheck(run, (*inputs, *values), fast_mode=True)


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_training_step__moves_every_parameter(system, shapes, missing):
    module = build(system, shapes, missing=missing)
    X, mask = batch(shapes, n=6), mask_of(shapes)
    for seen in mask.values():
        seen[[0, 4]] = True  # complete, so that the term has samples
    X = {name: np.where(mask[name][..., None], x, nan).repeat(4, 0) for name, x in X.items()}
    net = MDMNet(
        module,
        lam=0.5,
        max_epochs=1,
        batch_size=24,
        optimizer=torch.optim.SGD,
        lr=0.1,
        dtype=torch.float64,
        verbose=0,
    ).initialize()
    before = {name: value.detach().clone() for name, value in net.module_.named_parameters()}
    net.partial_fit(X, np.linspace(-1, 1, 24)[:, None])
    assert net.terms_skipped_ == 0
    still = [name for name, value in net.module_.named_parameters() if torch.equal(value, before[name])]
    if shapes is VECTORS and system in ONE_LENGTH:  # with one step there is no state to come back to
        still = [name for name in still if not any(part in name for part in ("weight_hh", "recall", "retain"))]
    assert not still


# --- copies, seeds and the estimators --------------------------------------------------------------------------------


def test_copy_and_pickle__give_the_same_output(system, shapes):
    module, X, mask = build(system, shapes), batch(shapes), mask_of(shapes)
    expected = module(X, mask)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        close(other(X, mask), expected, tolerance=0)


def test_one_seed__builds_one_module(system, shapes):
    first, second = build(system, shapes).state_dict(), build(system, shapes).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.usefixtures("quick_reports")
@pytest.mark.parametrize(("cls", "kind"), [(MDMFusionRegressor, "vectors"), (MDMFusionClassifier, "sequences")])
def test_estimator__fits_predicts_repeats_and_pickles(system, cls, kind, X, y):
    if kind == "sequences":
        X = {name: np.stack([x, -x, 2 * x], axis=1) for name, x in X.items()}
        for name, x in X.items():
            x[::5, 2] = nan
            x[:: 7 if name == "audio" else 8] = nan
        X["text"][0] = X["audio"][56] = 1.0
    fusion = SYSTEMS[system](**SMALL[system])
    encoder = "auto" if system in ALIGNED else MLPEncoder((8,), 4, dropout=0.0)
    parameters = {
        "n_estimators": 1,
        "fusion": fusion,
        "encoder": encoder,
        "lam": 0.1,
        "max_epochs": 2,
        "batch_size": 16,
    }
    model, other = (cls(**parameters, random_state=0, device="cpu", missing="token").fit(X, y) for _ in range(2))
    predictions = model.predict(X)
    assert_array_equal(predictions, other.predict(X))
    assert_array_equal(predictions, pickle.loads(pickle.dumps(model)).predict(X))
    assert model.transform(X).shape == (60, len(model.get_feature_names_out()))
    audio, text = (~np.isnan(X[name]).reshape(60, -1).all(1) for name in ("audio", "text"))
    assert len(model.predict({"audio": X["audio"][audio]})) == audio.sum()
    assert_array_equal(np.isfinite(model.pointwise_dependency(X)), audio & text)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [{"m0": (5, 3), "m1": (6, 2)}, {"m0": (5, 3), "m1": (2,)}])
def test_no_common_time_axis__error_names_modalities_and_steps(shapes):
    for system in ALIGNED & SYSTEMS.keys():
        second = r"'m1' a vector" if len(shapes["m1"]) == 1 else r"'m1' 6 steps"
        with pytest.raises(ValueError, match=rf"{system} .*'m0' 5 steps, {second}.*pad_sequences"):
            SYSTEMS[system]().build(shapes, 1)


def test_no_common_time_axis_in_a_batch__error_names_modalities_and_steps():
    for system in ALIGNED & SYSTEMS.keys():
        module, X = build(system, SEQUENCES), batch(SEQUENCES)
        X["m1"] = X["m1"][:, :3]
        mask = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in X.items()}
        for given in (None, mask):
            for call in (module, module.represent):
                with pytest.raises(ValueError, match=rf"{system} .*'m0' 5 steps, 'm1' 3 steps"):
                    call(X, given)


def test_no_common_time_axis__estimator__calls_modalities_by_their_names():
    audio, text = np.ones((6, 5, 3)), np.ones((6, 4, 2))
    audio[0], text[0] = 0, 0
    model = MDMFusionRegressor(n_estimators=1, fusion="ef_lstm", lam=0, max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=r"'audio' 5 steps, 'text' 4 steps"):
        model.fit({"text": text, "audio": audio}, range(6))
    model.fit({"text": text, "audio": audio[:, :4]}, range(6))
    for method in (model.predict, model.transform, model.fit_dependency):
        with pytest.raises(ValueError, match=r"'audio' 5 steps, 'text' 4 steps"):
            method({"text": text, "audio": audio})
    with pytest.raises(ValueError, match=r"'audio' 5 steps, 'text' 4 steps"):
        model.fit({"text": text, "audio": audio[:, :4]}, range(6), X_val={"text": text, "audio": audio}, y_val=range(6))


@pytest.mark.parametrize("fusion", ["ef_lstm", "memory", "multi_attention"])
def test_lists_of_which_the_longest_lacks_a_modality__are_on_one_time_axis(fusion):
    rng = np.random.default_rng(0)
    lengths = [5, *rng.integers(1, 4, size=19)]
    X = {name: [rng.normal(size=(n, d)) for n in lengths] for name, d in (("audio", 3), ("text", 2))}
    X["audio"][0] = None
    model = MDMFusionRegressor(n_estimators=1, fusion=fusion, lam=0, max_epochs=1, random_state=0).fit(
        X, np.arange(20.0)
    )
    alone = np.concatenate([model.predict({name: [x[i]] for name, x in X.items()}) for i in range(20)])
    np.testing.assert_allclose(model.predict(X), alone, rtol=1e-12)
    X["text"][3] = rng.normal(size=(5, 2))  # no longer as long as its audio
    with pytest.raises(ValueError, match=r"'audio' 3 steps, 'text' 5 steps"):
        model.predict(X)


@pytest.mark.parametrize("encoder", ["mlp", MLPEncoder(dropout=0.0), {"m0": "mlp"}])
def test_an_encoder_for_a_system_that_has_its_own__error(encoder):
    for system in ALIGNED & SYSTEMS.keys():
        with pytest.raises(ValueError, match=rf'{system} .*leave encoder="auto"'):
            SYSTEMS[system]().build(SEQUENCES, 1, encoder=encoder)


def test_a_size_of_zero__error_names_it(system):
    for name, value in SMALL[system].items():
        if name == "dropout":
            continue
        zero = (0,) if isinstance(value, tuple) else 0
        with pytest.raises(ValueError, match=rf"'{name}' parameter of {system} must be .*Got \(?0"):
            SYSTEMS[system](**{name: zero}).build(VECTORS, 1)
