"""The measures: objectives against hand-written ones, optima against closed forms, and the table of their flags."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_mdm.critic import CRITICS, CosineCritic, Critic, LipschitzCritic, MultilinearCritic
from sklearn_mdm.critic._base import gather
from sklearn_mdm.critic._negatives import offset_indices
from sklearn_mdm.datasets import make_correlated_gaussians
from sklearn_mdm.measures import (
    KL,
    KNIFE,
    MEASURES,
    SMILE,
    FDivergence,
    InfoNCE,
    JensenShannon,
    Measure,
    MixtureCritic,
    PairwiseInfoNCE,
    TCMax,
    Wasserstein,
    WassersteinPredictiveCoding,
)
from sklearn_mdm.measures import _contrastive as contrastive_module

GUIDE = Path(__file__).parents[2] / "docs" / "user_guide" / "measures.rst"
# f and its derivative, from which the variational bound follows: f*(f'(u)) = u f'(u) - f(u).
DIVERGENCES = {
    "kl": (lambda u: u * np.log(u), lambda u: 1 + np.log(u)),
    "reverse_kl": (lambda u: -np.log(u), lambda u: -1 / u),
    "jensen_shannon": (
        lambda u: (u * np.log(u) - (u + 1) * np.log((u + 1) / 2)) / 2,
        lambda u: np.log(2 * u / (u + 1)) / 2,
    ),
    "squared_hellinger": (lambda u: (np.sqrt(u) - 1) ** 2 / 2, lambda u: (1 - u**-0.5) / 2),
}
LOWER_BOUNDS = [KL(), JensenShannon(), *(FDivergence(divergence=name) for name in DIVERGENCES)]
CONSISTENT = [*LOWER_BOUNDS, SMILE(clip=15.0), KNIFE()]


class Given:
    """A critic whose values are given, on rows and negatives."""

    training = False

    def __init__(self, t_joint, t_product):
        self.t = torch.as_tensor(t_joint), torch.as_tensor(t_product)

    def __call__(self, representations, index=None):
        return self.t[0] if index is None else self.t


class TrueRatio:
    """The critic that a measure is best at, for correlated Gaussians: their log density ratio plus a constant."""

    training = False

    def __init__(self, log_ratio, names, constant=0.0):
        self.log_ratio, self.names, self.constant = log_ratio, names, constant

    def __call__(self, z, index=None):
        t_joint = self._t(z)
        return t_joint if index is None else (t_joint, self._t(gather(z, index)))

    def _t(self, z):
        rows = {name: z_j.numpy() for name, z_j in zip(self.names, z, strict=True)}
        return torch.from_numpy(self.log_ratio(rows)) + self.constant


def gaussians(n, rho=0.4, n_features=1, constant=0.0, seed=0):
    X, truth, log_ratio = make_correlated_gaussians(
        n, rho=rho, n_features=n_features, return_log_ratio="callable", random_state=seed
    )
    return TrueRatio(log_ratio, list(X), constant), [torch.from_numpy(x) for x in X.values()], truth


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=range(3))
def values(request):
    """Critic values on rows and negatives, in double precision."""
    rng = np.random.default_rng(request.param)
    return rng.normal(1, 2, size=30), rng.normal(-1, 2, size=90)


def objective(measure, t_joint, t_product):
    return measure.objective(torch.as_tensor(t_joint), torch.as_tensor(t_product)).item()


def value(measure, t_joint, t_product):
    return measure.value(Given(t_joint, t_product), [], torch.zeros(1, 1)).item()


# --- objectives and values, by hand ----------------------------------------------------------------------------------


def donsker_varadhan(t_joint, t_product):
    return t_joint.mean() - np.log(np.exp(t_product).mean())


def logistic(t_joint, t_product):
    return 2 * np.log(2) - np.log1p(np.exp(-t_joint)).mean() - np.log1p(np.exp(t_product)).mean()


def contrast(t_joint, t_product):
    parts = []
    for i, own in enumerate(t_joint):
        scores = [own, *t_product[3 * i : 3 * i + 3]]
        parts.append(own - np.log(np.mean(np.exp(scores))))
    return np.mean(parts)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (KL(), donsker_varadhan),
        (FDivergence(), lambda p, q: p.mean() - np.exp(q - 1).mean()),
        (JensenShannon(), logistic),
        (SMILE(), logistic),
        (Wasserstein(), lambda p, q: p.mean() - q.mean()),
        (InfoNCE(), contrast),
        (WassersteinPredictiveCoding(), contrast),
        (TCMax(), donsker_varadhan),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Measure) else "",
)
def test_objective__is_the_formula(values, measure, expected):
    assert objective(measure, *values) == pytest.approx(expected(*values))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (KL(), donsker_varadhan),
        (FDivergence(), lambda p, q: p.mean() - np.exp(q - 1).mean()),
        (JensenShannon(), donsker_varadhan),
        (SMILE(clip=1.0), lambda p, q: donsker_varadhan(p, np.clip(q, -1, 1))),
        (Wasserstein(), lambda p, q: p.mean() - q.mean()),
        (KNIFE(), lambda p, q: p.mean()),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Measure) else "",
)
def test_value__is_the_formula(values, measure, expected):
    assert value(measure, *values) == pytest.approx(expected(*values))
    if not isinstance(measure, FDivergence | Wasserstein):  # whose T is not the log ratio
        assert measure.estimate(*values) == pytest.approx(expected(*values))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_f_divergence__is_the_bound_that_follows_from_f(values, divergence):
    f, slope = DIVERGENCES[divergence]
    joint, product = (np.exp(t - 1) for t in values)
    expected = slope(joint).mean() - (product * slope(product) - f(product)).mean()
    assert objective(FDivergence(divergence=divergence), *values) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [KL(), JensenShannon(), Wasserstein(), InfoNCE()])
@pytest.mark.parametrize("constant", [-100.0, 3.0, 1e4])
def test_values__do_not_change_when_a_constant_is_added_to_t(values, measure, constant):
    def measured(t_joint, t_product):
        return (objective if isinstance(measure, InfoNCE) else value)(measure, t_joint, t_product)

    assert measured(*(t + constant for t in values)) == pytest.approx(measured(*values), abs=1e-9)
    assert measured(np.full(4, constant), np.full(8, constant)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_f_divergence_of_a_constant__is_zero_at_one_and_negative_elsewhere(divergence):
    measure = FDivergence(divergence=divergence)
    assert objective(measure, np.ones(4), np.ones(9)) == pytest.approx(0)
    for constant in (-1.0, 0.0, 2.0):
        assert objective(measure, np.full(4, constant), np.full(9, constant)) < 0


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
@pytest.mark.parametrize("measure", [KL(), JensenShannon(), SMILE(), InfoNCE(), Wasserstein()])
def test_huge_unbounded_t__gives_finite_values_and_gradients(measure, signs, scale):
    t_joint = (signs[0] * scale * torch.linspace(0.5, 1, 5)).requires_grad_()
    t_product = (signs[1] * scale * torch.linspace(0.5, 1, 10)).requires_grad_()
    result = measure.objective(t_joint, t_product)
    result.backward()
    assert torch.isfinite(result)
    assert torch.isfinite(t_joint.grad).all() and torch.isfinite(t_product.grad).all()


# --- optima ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", CONSISTENT, ids=repr)
def test_at_the_true_log_ratio__the_value_is_the_divergence(measure):
    # Monte Carlo error at n = 60,000: standard deviations of log r and of r are below 0.8 and 1.6.
    divergence = measure.divergence if isinstance(measure, FDivergence) else "kl"
    critic, z, truth = gaussians(60_000, constant=isinstance(measure, FDivergence))
    if divergence != "kl":  # E_Q[f(r)] by another sample
        other, fresh, _ = gaussians(60_000, seed=1)
        ratio = np.exp(other(fresh, offset_indices(60_000, 3, 4, generator(1)))[1].numpy())
        truth = DIVERGENCES[divergence][0](ratio).mean()
    result = measure.value(critic, z, offset_indices(60_000, 3, 4, generator())).item()
    assert result == pytest.approx(truth, abs=0.02)
    assert truth > 0.04  # the tolerance says something


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_f_divergence__is_the_integral_for_two_gaussians(divergence):
    rho, f = 0.4, DIVERGENCES[divergence][0]
    x, y = np.meshgrid(*[np.linspace(-7, 7, 701)] * 2)
    product = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
    quadratic = (x**2 - 2 * rho * x * y + y**2) / (1 - rho**2)
    log_ratio = -0.5 * np.log1p(-(rho**2)) - quadratic / 2 + (x**2 + y**2) / 2
    truth = (product * f(np.exp(log_ratio))).sum() * 0.02**2
    if divergence == "kl":
        assert truth == pytest.approx(-0.5 * np.log1p(-(rho**2)), abs=1e-6)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400_000))
    c = rho * a + np.sqrt(1 - rho**2) * b

    def best(a, b):
        return 1 - 0.5 * np.log1p(-(rho**2)) - (a**2 - 2 * rho * a * b + b**2) / (2 - 2 * rho**2) + (a**2 + b**2) / 2

    assert objective(FDivergence(divergence=divergence), best(a, c), best(a, b)) == pytest.approx(truth, abs=0.005)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_f_divergence__is_estimated_from_log_ratios(divergence):
    measure = FDivergence(divergence=divergence)
    critic, z, truth = gaussians(60_000)
    index = offset_indices(60_000, 3, 4, generator())
    best = measure.value(TrueRatio(critic.log_ratio, critic.names, 1.0), z, index).item()
    estimate = measure.estimate(*(t.numpy() for t in critic(z, index)))
    assert estimate == pytest.approx(truth if divergence == "kl" else best, abs=0.02 if divergence == "kl" else 1e-9)


@pytest.mark.parametrize("measure", LOWER_BOUNDS, ids=repr)
def test_away_from_the_best_t__a_lower_bound_is_lower(measure):
    critic, z, _ = gaussians(20_000, constant=isinstance(measure, FDivergence))
    t_joint, t_product = critic(z, offset_indices(20_000, 3, 4, generator()))
    best = value(measure, t_joint, t_product)
    for distort in (lambda t: 0.6 * t, lambda t: t + 0.3 * torch.sin(3 * t), lambda t: t.clamp(max=0.5)):
        assert value(measure, distort(t_joint), distort(t_product)) < best


def test_jsd__does_not_report_the_nwj_bound_of_its_t():
    critic, z, truth = gaussians(60_000)
    index = offset_indices(60_000, 3, 4, generator())
    assert JensenShannon().value(critic, z, index).item() == pytest.approx(truth, abs=0.02)
    assert FDivergence().value(critic, z, index).item() == pytest.approx(truth - 1 / math.e, abs=0.02)


def test_smile__varies_less_than_donsker_varadhan_and_overshoots():
    critic, z, truth = gaussians(20_000, rho=0.8, n_features=2)

    def over_batches(measure):
        return [
            measure.value(critic, [x[s : s + 50] for x in z], offset_indices(50, 3, 1, generator(s))).item()
            for s in range(0, 20_000, 50)
        ]

    assert np.std(over_batches(SMILE(clip=1.0))) < 0.7 * np.std(over_batches(KL()))
    assert SMILE(clip=1.0).value(critic, z, offset_indices(20_000, 3, 4, generator())).item() > truth + 0.1


def test_infonce__with_many_others_approaches_the_total_correlation():
    # The mean over 200 others of one row has a relative variance near 1 / 200, half of which is bias.
    critic, z, truth = gaussians(3000)
    result = InfoNCE().value(critic, z, offset_indices(3000, 3, 200, generator())).item()
    assert result == pytest.approx(truth, abs=0.04)


# --- contrastive measures --------------------------------------------------------------------------------------------


def test_infonce__over_all_combinations_equals_a_slow_loop():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = InfoNCE().build_critic([2, 1, 3], (8, 4)).double()
    z = [torch.randn(6, width, generator=generator(width), dtype=torch.float64) for width in (2, 1, 3)]
    expected = []
    for i in range(6):
        scores = {
            (j, k): critic([z[0][i : i + 1], z[1][j : j + 1], z[2][k : k + 1]]).item()
            for j, k in itertools.product(range(6), repeat=2)
        }
        expected.append(scores[i, i] - np.log(np.mean(np.exp(list(scores.values())))))
    assert InfoNCE().value(critic, z, None).item() == pytest.approx(np.mean(expected))


def test_infonce__contrasts_rows_that_share_their_first_modality():
    # T is the number of the first modality's row: whoever compares others with it finds no contrast.
    index = offset_indices(7, 3, 4, generator())
    rows = torch.arange(7.0)
    assert value_of_rows(InfoNCE(), rows, rows[index[0]], index) == pytest.approx(0, abs=1e-6)
    assert abs(value_of_rows(InfoNCE(), rows, rows[index[1]], index)) > 0.1


def value_of_rows(measure, t_joint, t_product, index):
    return measure.value(Given(t_joint, t_product), [], index).item()


@pytest.mark.parametrize(("n", "m"), [(8, 2), (8, 3), (40, 4), (5, 5)])
def test_infonce__never_exceeds_its_limit_and_reaches_it(n, m):
    critic = MultilinearCritic([1] * m)
    limit = InfoNCE().limit(n, m)

    def tuples(z):
        n_parts, b = z[0].shape[:2]
        scores = torch.zeros((n_parts, *(b,) * m))
        scores[(slice(None), *(torch.arange(b),) * m)] = 60.0
        return scores

    critic.all_tuples = tuples
    assert InfoNCE().value(critic, [torch.zeros(n, 1)] * m, None).item() == pytest.approx(limit, rel=1e-5)
    assert objective(InfoNCE(), np.full(4, 50.0), np.zeros(12)) == pytest.approx(InfoNCE().limit(4, m, 3))


def test_infonce__splits_batches_whose_combinations_are_too_many(monkeypatch):
    monkeypatch.setattr(contrastive_module, "MAX_TUPLES_OF_A_ROW", 6**2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = InfoNCE().build_critic([1, 1, 1], (8, 4))
    z = [torch.randn(11, 1, generator=generator(seed)) for seed in range(3)]
    whole = InfoNCE().value(critic, z, None)
    halves = [InfoNCE().value(critic, [z_j[s : s + 5] for z_j in z], None) for s in (0, 5)]
    torch.testing.assert_close(whole, torch.stack(halves).mean())
    assert InfoNCE().limit(11, 3) == pytest.approx(2 * math.log(5))
    assert [contrastive_module._rows_combined(n, 3) for n in (5, 6, 7, 12, 13)] == [5, 6, 3, 6, 4]


@pytest.mark.parametrize("m", range(2, 9))
def test_infonce__bounds_what_is_combined(m):
    for n in (1, 2, 5, 64, 100, 1000, 5000, 20_000):
        b = contrastive_module._rows_combined(n, m)
        assert 1 <= b <= n
        if b > 2:
            assert b ** (m - 1) <= contrastive_module.MAX_TUPLES_OF_A_ROW
            assert n * b ** (m - 1) <= contrastive_module.MAX_TUPLES
        assert n % b < -(-n // b)  # even parts leave out fewer rows than there are parts
    assert contrastive_module._rows_combined(64, 3) == 64


def test_wpc__is_at_most_a_part_of_the_wasserstein_objective(values):
    for scale in (0.01, 1.0, 10.0):
        t_joint, t_product = (scale * t for t in values)
        contrast = objective(WassersteinPredictiveCoding(), t_joint, t_product)
        difference = objective(Wasserstein(), t_joint, t_product)
        assert contrast <= 3 / 4 * difference + 1e-12
        if scale == 0.01:  # nearly a multiple, as long as T varies little
            assert contrast == pytest.approx(3 / 4 * difference, rel=0.05)
    assert WassersteinPredictiveCoding().limit(100, 3, 7) == pytest.approx(math.log(8))


# --- parameters, flags and the guide ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEASURES)
def test_named_measures__are_parameter_objects_with_a_unit(name):
    measure = MEASURES[name]()
    assert isinstance(measure, Measure)
    assert repr(clone(measure)) == repr(measure)
    assert isinstance(measure.unit, str)
    assert not (measure.pointwise and not measure.density_ratio)
    if measure.needs_y:
        with pytest.raises(ValueError, match="TCMax has no critic"):
            measure.build_critic([3, 2])
        return
    expected = {"infonce": MultilinearCritic, "wasserstein": LipschitzCritic, "wpc": LipschitzCritic}
    expected |= {"cpc": MultilinearCritic, "knife": MixtureCritic, "pairwise_infonce": CosineCritic}
    assert type(measure.build_critic([3, 2], hidden_dims=(4, 4))) is expected.get(name, Critic)
    for kind in CRITICS if not measure.own_critic else ():
        assert type(measure.build_critic([3, 2], kind=kind)) is CRITICS[kind]
    if measure.own_critic:
        with pytest.raises(ValueError, match="kind 'encoded'"):
            measure.build_critic([3, 2], kind="encoded")


@pytest.mark.parametrize(
    ("measure", "kind", "message"),
    [
        (KL(), "bilinear", r"kind='bilinear' of critic is not known.*separable"),
        (InfoNCE(), "orthogonal", "kind='orthogonal' of critic is not known"),
        (Wasserstein(), "separable", "Wasserstein has a critic of its own, and none of kind 'separable'"),
        (
            FDivergence(divergence="chi2"),
            None,
            "'divergence' parameter of FDivergence must be .*squared_hellinger.*Got 'chi2'",
        ),
        (SMILE(clip=0.0), None, "'clip' parameter of SMILE must be .*Got 0.0"),
        (KNIFE(n_kernels=0), None, "'n_kernels' parameter of KNIFE must be .*Got 0"),
        *((PairwiseInfoNCE(wrong), None, f"'temperature' parameter of .*Got {wrong}") for wrong in (0.0, math.nan)),
        *((cls(bound=-1.0), None, "'bound' parameter of .*Got -1.0") for cls in (KL, FDivergence, InfoNCE, SMILE)),
    ],
    ids=lambda x: "" if x is None else str(x)[:40],
)
def test_what_a_measure_cannot_be__is_an_error(measure, kind, message):
    with pytest.raises(ValueError, match=message):
        measure.build_critic([3, 2], kind=kind)


def test_the_table_of_the_guide__is_what_the_classes_say():
    rows = [re.split(r"\n     - ", row) for row in GUIDE.read_text(encoding="utf-8").split("\n   * - ")[1:]]
    header = [cell.strip() for cell in rows[0]]
    assert header[:2] == ["``measure=``", "class"] and len(rows) == 1 + len(set(MEASURES.values()))
    flags = ["stands_alone", "pointwise", "needs_y"]
    assert header[2:6] == ["stand-alone", "pointwise", "needs y", "unit"]
    listed = []
    for row in rows[1:]:
        names = re.findall(r'``"(\w+)"``', row[0])
        listed += names
        for name in names:
            measure = MEASURES[name]()
            assert row[1] == f":class:`~sklearn_mdm.measures.{type(measure).__name__}`"
            assert row[2:5] == ["yes" if getattr(measure, flag) else "no" for flag in flags], name
            assert row[5] == measure.unit
    assert sorted(listed) == sorted(MEASURES)


def test_the_measure_of_the_guide__trains_a_network(X, y):
    text = GUIDE.read_text(encoding="utf-8")
    block = re.search(r"^Add your own$[\s\S]*?::\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)[1]
    namespace = {"__name__": "guide"}
    exec("\n".join(line[4:] for line in block.splitlines()), namespace)
    model = namespace["model"].set_params(max_epochs=2, random_state=0, measure__penalty=0.5)
    curve = model.fit(X, y).dependency_curve_
    assert len(curve) == 2 and np.isfinite(curve).all()
    t = np.array([1.0, 2.0]), np.array([0.5, 0.0, -1.0])
    assert value(namespace["Anchored"](), *t) == pytest.approx(value(KL(), *t))
