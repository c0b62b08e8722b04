"""What is said about a sample depends on that sample alone, however a batch is cut and whatever lies under a mask."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mdm import ModalityDict
from sklearn_mdm.encoders import MLPEncoder, ModalityEncoders
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.net import _inference as evaluation

# Of samples that were fitted, here and there: the numbers must repeat, not tell of new ones.
pytestmark = [
    pytest.mark.usefixtures("quick_reports"),
    pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning"),
]

nan = np.nan


KINDS = ["vectors", "missing modalities", "sequences"]


@pytest.fixture(params=KINDS)
def data(request, X, sequences):
    if request.param == "sequences":
        return sequences
    if request.param == "missing modalities":
        X["text"][::3] = nan
        X["audio"][1::4] = nan
        X["text"][1::4] = 1.0
    return X


def cuts(n):
    rng = np.random.default_rng(0)
    return {
        "one by one": [[i] for i in range(0, n, 4)],
        "halves": np.array_split(np.arange(n), 2),
        "uneven": [np.arange(1), np.arange(1, 3), np.arange(3, 20), np.arange(20, n)],
        "shuffled": np.array_split(rng.permutation(n), 3),
        "with repeats": [np.r_[np.arange(n), 5, 5, 5]],
    }


OPTIONS = [(np.float32, "mean"), (np.float64, "token"), (np.float64, "skip"), (np.float32, "critic")]
QUICK = [("missing modalities", "critic"), ("sequences", "skip")]


@pytest.mark.parametrize(
    ("data", "dtype", "missing", "members"),
    [
        pytest.param(
            kind, *option, members, marks=() if members == 1 or (kind, option[1]) in QUICK else pytest.mark.slow
        )
        for kind in KINDS
        for option in OPTIONS
        for members in (1, 3)
    ],
    indirect=["data"],
)
def test_every_method__is_the_same_however_the_rows_are_cut(estimator, data, y, dtype, missing, members):
    data = ModalityDict({name: value.astype(dtype) for name, value in data.items()})
    parameters = {"n_estimators": members, "early_stopping": members > 1}
    fitted = estimator(max_epochs=10, lr=0.01, lam=1.0, missing=missing, **parameters).fit(data, y)
    fitted.fit_dependency(data)
    for method in ("predict", "predict_proba", "transform", "pointwise_dependency"):
        if not hasattr(fitted, method):
            continue
        together = getattr(fitted, method)(data)
        for name, parts in cuts(len(y)).items():
            apart = np.concatenate([getattr(fitted, method)(data[list(rows)]) for rows in parts])
            assert_allclose(apart, together[np.concatenate(parts)], rtol=1e-6, atol=1e-6, err_msg=f"{method}, {name}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predict__does_not_depend_on_the_size_of_inner_batches(estimator, data, y, dtype, members, monkeypatch):
    data = {name: value.astype(dtype) for name, value in data.items()}
    fitted = estimator(n_estimators=members, early_stopping=members > 1).fit(data, y)
    expected = fitted.transform(data), fitted.predict(data), fitted.pointwise_dependency(data)
    monkeypatch.setattr(evaluation, "ROWS_PER_BATCH", 7)
    found = fitted.transform(data), fitted.predict(data), fitted.pointwise_dependency(data)
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("missing", ["mean", "token", "skip", "critic"])
def test_garbage_under_a_mask__reaches_nothing_of_an_estimator(estimator, X, y, missing, members):
    parameters = {"missing": missing, "lam": 1.0, "n_estimators": members, "early_stopping": True}
    found = []
    for garbage in (nan, 1e30):
        rows = {name: x.copy() for name, x in X.items()}
        rows["text"][::3] = garbage
        masked = {**rows, "text": np.ma.MaskedArray(rows["text"], np.zeros_like(rows["text"], dtype=bool))}
        masked["text"][::3] = np.ma.masked
        fitted = estimator(**parameters).fit(masked, y)
        found.append([fitted.predict(masked), fitted.transform(masked), fitted.pointwise_dependency(masked)])
    for one, other in zip(*found, strict=True):
        assert_array_equal(one, other)


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"m0": torch.randn(6, 3, generator=generator), "m1": torch.randn(6, 4, 2, generator=generator)}


MASK = {
    "m0": torch.tensor([True, False, True, True, False, True]),
    "m1": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]).bool(),
}


def under_mask(X, value):
    return {name: torch.where(MASK[name].unsqueeze(-1), x, value) for name, x in X.items()}


@pytest.fixture(params=["mean", "token", "skip"])
def module(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = ConcatFusion((5,), dropout=0.0).build(
            {"m0": (3,), "m1": (4, 2)}, 2, encoder=MLPEncoder((5,), 3, dropout=0.0), missing=request.param
        )
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
    return module.double().eval()


@pytest.mark.parametrize("garbage", [0.0, 1e3, -1e30, nan, np.inf])
def test_garbage_under_a_mask__changes_neither_outputs_nor_gradients(module, garbage):
    def run(X):
        module.zero_grad()
        X = {name: x.double().requires_grad_() for name, x in X.items()}
        output = module(X, MASK)
        (output.prediction.sum() + sum(code.square().sum() for code in output.representations.values())).backward()
        gradients = [p.grad.clone() for p in module.parameters()]
        return [output.prediction, output.fused, *output.representations.values(), *gradients], X

    expected, _ = run(tensors())
    found, leaves = run(under_mask(tensors(), garbage))
    for a, b in zip(found, expected, strict=True):
        assert torch.isfinite(a).all()
        assert_allclose(a.detach(), b.detach(), rtol=1e-6, atol=1e-6)
    for name, x in leaves.items():
        assert not x.grad[~MASK[name]].any()


def test_represent__is_the_representations_of_forward(module):
    for mask in (None, MASK):
        X = {name: x.double() for name, x in tensors().items()}
        alone, whole = module.represent(X, mask), module(X, mask).representations
        assert list(alone) == list(whole) == list(module.code_dims)
        for name in alone:
            assert torch.equal(alone[name], whole[name])
            assert alone[name].shape == (6, module.code_dims[name])


def test_a_mask_of_ones__is_no_mask(module):
    X = {name: x.double() for name, x in tensors().items()}
    ones = {name: torch.ones_like(mask) for name, mask in MASK.items()}
    assert_allclose(module(X, ones).prediction.detach(), module(X, None).prediction.detach(), rtol=1e-12)


def test_token__takes_the_place_of_the_code_only_where_nothing_was_observed():
    codes = ModalityEncoders({"m0": (3,), "m1": (4, 2)}, MLPEncoder((5,), 3, dropout=0.0), missing="token")
    torch.nn.init.constant_(codes.tokens["m0"], 7.0)
    torch.nn.init.constant_(codes.tokens["m1"], 7.0)
    filled = codes.fill(codes.represent(tensors(), MASK), MASK)
    assert (filled["m0"] == 7).all(1).tolist() == [False, True, False, False, True, False]
    assert (filled["m1"] == 7).all(1).tolist() == [False, False, True, False, False, False]
