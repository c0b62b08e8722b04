"""A fusion or an encoder of a user's own: what it needs to do, and what it is told if it does not."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.encoders import Encoder, MLPEncoder, ModalityEncoders
from sklearn_mdm.fusion import Fusion, FusionModule, FusionOutput
from sklearn_mdm.fusion._check import check_fusion_module


class SumModule(FusionModule):
    """A module that keeps to the contract; each test breaks it in one place."""

    def __init__(self, encoders, n_outputs):
        super().__init__(encoders)
        self.terms = nn.ModuleDict({name: nn.Linear(k, n_outputs) for name, k in self.code_dims.items()})
        self.norm = nn.BatchNorm1d(n_outputs)
        self.off = nn.Dropout(0.5).eval()

    def forward(self, X, mask=None):
        z = self.represent(X, mask)
        filled = self.encoders.fill(z, mask)
        total = self.norm(sum(self.off(term(filled[name])) for name, term in self.terms.items()))
        return FusionOutput(total, total, z)


class SumFusion(Fusion):
    def __init__(self, module=SumModule):
        self.module = module

    def build(self, shapes, n_outputs, *, encoder="auto", missing="mean"):
        return self.module(ModalityEncoders(shapes, encoder, missing), n_outputs)


def fit(fusion="concat", X=None, **parameters):
    rng = np.random.default_rng(0)
    X = {"audio": rng.normal(size=(40, 3)), "text": rng.normal(size=(40, 4, 2))} if X is None else X
    parameters = {"encoder": {"audio": MLPEncoder((4,), 6, dropout=0.0)}, "lam": 0, "max_epochs": 1, **parameters}
    return MDMFusionRegressor(n_estimators=1, fusion=fusion, random_state=0, **parameters).fit(
        X, rng.normal(size=(40, 2))
    )


def changing(**changes):
    """A module whose outputs are changed by functions of what it would return."""

    class Changed(SumModule):
        def forward(self, X, mask=None):
            output = super().forward(X, mask)
            return output._replace(**{name: change(getattr(output, name)) for name, change in changes.items()})

    return Changed


def with_widths(change):
    class Widths(SumModule):
        def __init__(self, *args):
            super().__init__(*args)
            self.code_dims = change(self.code_dims)

    return Widths


class NoRepresent(nn.Module):
    def __init__(self, encoders, n_outputs):
        super().__init__()
        self.code_dims = encoders.code_dims


class Tuple(SumModule):
    def forward(self, X, mask=None):
        return tuple(super().forward(X, mask))


class NeedsMask(SumModule):
    def forward(self, X, mask=None):
        return super().forward(X, {name: seen & True for name, seen in mask.items()})


class NoMask(SumModule):
    def forward(self, X):
        return super().forward(X)


class Renamed(SumModule):
    def represent(self, X, mask=None):
        return {name.upper(): z for name, z in super().represent(X, mask).items()}


class Leaking(SumModule):
    def represent(self, X, mask=None):
        z = super().represent(X, mask)
        return {**z, "m0": z["m0"] + 0.01 * z["m1"][:, :6]}


class LeakingMask(SumModule):
    def represent(self, X, mask=None):
        z = super().represent(X, mask)
        return z if mask is None else {**z, "m1": z["m1"] * mask["m0"].unsqueeze(1)}


class Random(SumModule):
    def represent(self, X, mask=None):
        return {name: z + torch.randn_like(z) for name, z in super().represent(X, mask).items()}


class OneSample(SumModule):
    def represent(self, X, mask=None):
        return {name: z[:1] for name, z in super().represent(X, mask).items()}


class Unnormalised(SumModule):
    def represent(self, X, mask=None):
        z = super().represent(X, mask)
        return z if mask is None else {name: x / mask[name].view(len(x), -1).any(1)[:, None] for name, x in z.items()}


NAMES = r"'audio', 'text'"
BROKEN = {
    "no module": (lambda *_: "network", "an object of type str, and no torch module"),
    "a class": (lambda *_: SumModule, "an object of type type, and no torch module"),
    "no widths": (lambda *_: nn.Linear(2, 1), rf"code_dims must give the width .* of \[{NAMES}\].* got None"),
    "widths as a list": (with_widths(lambda dims: list(dims.values())), r"code_dims must .*got \[6, 32\]"),
    "widths without text": (
        with_widths(lambda dims: dict([*dims.items()][:1])),
        r"code_dims must .*got \{'audio': 6\}",
    ),
    "widths in another order": (with_widths(lambda dims: dict(reversed(dims.items()))), "in this order; got"),
    "a width and a half": (with_widths(lambda dims: {**dims, "m0": 1.5}), r"got \{'audio': 1.5, 'text': 32\}"),
    "another width": (
        with_widths(lambda dims: {**dims, "m1": 9}),
        r"of 'text' .* a tensor \(5, 9\).*got a .* \(5, 32\)",
    ),
    "no represent": (NoRepresent, r"no method represent\(X, mask\)"),
    "a tuple": (Tuple, r"forward must return FusionOutput\(.*\), got an object of type tuple"),
    "None is no mask": (NeedsMask, "forward failed on 5 samples with mask=None: AttributeError: 'NoneType' object"),
    "no mask": (NoMask, "forward failed on 5 samples with mask=None: TypeError: .*positional argument"),
    "other names": (Renamed, rf"represent must return a dict .* of \[{NAMES}\], in this order; got \['M0', 'M1'\]"),
    "a list": (changing(representations=lambda z: list(z.values())), "forward must return a dict .* type list"),
    "one too many": (changing(representations=lambda z: {**z, "joint": z["m0"]}), r"got \['audio', 'text', 'joint'\]"),
    "other representations": (
        changing(representations=lambda z: {name: x + 1 for name, x in z.items()}),
        "represent and forward give different representations of 'audio'",
    ),
    "random representations": (Random, "represent and forward give different representations of 'audio'"),
    "one sample": (OneSample, r"of 'audio' that represent returns .*\(5, 6\) for 5 samples, got a tensor \(1, 6\)"),
    "no batch": (changing(prediction=lambda x: x.mean(0)), r"prediction .* \(5, 2\) for 5 samples, .*tensor \(2,\)"),
    "an output too few": (changing(prediction=lambda x: x[:, :1]), r"prediction .* \(5, 2\) .*got a tensor \(5, 1\)"),
    "an array": (changing(prediction=lambda x: x.numpy()), "prediction .* got an object of type ndarray"),
    "not a number": (changing(prediction=lambda x: x / 0 * 0), "the prediction of forward is not finite"),
    "not a number if missing": (Unnormalised, "the representation of 'audio' that represent returns is not finite"),
    "fused to nothing": (changing(fused=lambda x: None), r"fused .* a tensor \(5, k\).*got an object of type NoneType"),
    "a penalty per sample": (changing(penalty=lambda _: torch.ones(5)), r"penalty .*\(\), got a tensor \(5,\)"),
    "text in audio": (Leaking, "the representation of 'audio' changes with modality 'text'.*how the network is wired"),
    "presence of audio in text": (LeakingMask, "the representation of 'text' changes with modality 'audio'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_fusion__that_breaks_the_contract__error_says_how_in_the_users_names(case):
    module, match = BROKEN[case]
    with pytest.raises(ValueError, match=rf"that SumFusion\.build returned breaks the contract .*: .*{match}"):
        fit(SumFusion(module))


class Narrow(MLPEncoder):
    def __init__(self, change=None):
        super().__init__((4,), 6)
        self.change = change

    def build(self, shape):
        return self.change(super().build(shape))


def of_width(width):
    def change(module):
        module.out_dim = width
        return module

    return Narrow(change)


class States(nn.LSTM):
    out_dim = 4

    def forward(self, x, mask=None):
        return super().forward(x)


@pytest.mark.parametrize("fusion", ["concat", "misa", "tensor"])
@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        (Narrow(lambda module: None), "'audio': Narrow.build must return a torch module, got an .* NoneType"),
        (
            Narrow(lambda module: nn.Linear(3, 6)),
            "'audio': .* Narrow.build returned needs an attribute out_dim.*got None",
        ),
        (of_width(4.5), "'audio': .* Narrow.build returned needs an attribute out_dim.* positive integer; got 4.5"),
        (of_width(7), r"'audio': its encoder returned a tensor \(5, 6\) .*out_dim promises a tensor \(5, 7\)"),
        (Narrow(lambda module: States(3, 4)), r"'audio': its encoder returned an object of type tuple .*\(5, 4\)"),
        (MLPEncoder(out_dim=4.5), "'audio': The 'out_dim' parameter of MLPEncoder must be .*Got 4.5"),
    ],
)
def test_encoder__that_breaks_the_contract__error_names_its_modality(fusion, encoder, match):
    with pytest.raises(ValueError, match=match):
        fit(fusion, encoder={"audio": encoder})


def test_build__of_other_parameters__error_shows_the_call():
    class Old(SumFusion):
        def build(self, shapes, n_outputs, encoder):
            raise AssertionError

    with pytest.raises(TypeError, match=r"Old\.build cannot be called as build\(shapes, n_outputs, \*, .*'missing'"):
        fit(Old())


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_fusion_and_encoder__of_ones_own__fit_and_predict_without_a_modality(missing, X, y):
    class Linear(nn.Linear):
        out_dim = property(lambda self: self.out_features)

        def forward(self, x, mask=None):
            return super().forward(x)

    class LinearEncoder(Encoder):
        def build(self, shape):
            return Linear(shape[-1], 4)

    for cls in (MDMFusionRegressor, MDMFusionClassifier):
        model = cls(
            n_estimators=1,
            fusion=SumFusion(),
            encoder=LinearEncoder(),
            lam=0,
            missing=missing,
            max_epochs=2,
            random_state=0,
        )
        assert len(model.fit(X, y > 0 if cls is MDMFusionClassifier else y).predict({"audio": X["audio"]})) == len(
            X["audio"]
        )
    assert fit(SumFusion(), X={"only": X["audio"][:40]}, encoder="auto").predict({"only": X["audio"]}).shape[1] == 2


def test_trial__leaves_state_and_random_numbers_alone(monkeypatch):
    tried = fit(SumFusion())
    monkeypatch.setattr("sklearn_mdm.fusion._check._try_out", lambda *args: None)
    untried = fit(SumFusion())
    monkeypatch.undo()
    for name, value in untried.net_.module_.state_dict().items():  # with the statistics of the norm
        assert torch.equal(tried.net_.module_.state_dict()[name], value)
    shapes = {"m0": (3,), "m1": (4, 2)}
    module = SumFusion().build(shapes, 2)
    before = torch.random.get_rng_state()
    check_fusion_module(module, shapes, 2, "SumFusion")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert module.training and module.norm.training and not module.off.training
    assert module.norm.num_batches_tracked == 0
    assert not any(parameter.grad is not None for parameter in module.parameters())
