"""Synthetic makers: their truth against sampling, enumeration and independent densities, and what they refuse."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklearn_mdm import ModalityDict, datasets
from sklearn_mdm.datasets import (
    make_correlated_gaussians,
    make_gaussian_mixture,
    make_multivariate_t,
    make_paired_gaussians,
    make_partial_information,
    make_shared_latent,
    make_spirals,
    make_warped_gaussians,
)

# The two error bars of the mixture's truth, which is a Monte Carlo mean itself.
MIXTURE_ERROR, MIXTURE_RELATIVE_ERROR = 0.002, 0.001

# Maker and parameters, by name. Those of WEAK have a density ratio with finite variance over the product.
WEAK = {
    "gaussians": (make_correlated_gaussians, {"rho": 0.3, "n_features": 2}),
    "negative rho": (make_correlated_gaussians, {"rho": -0.2}),
    "cube": (make_warped_gaussians, {"rho": 0.3, "warp": "cube"}),
    "cdf": (make_warped_gaussians, {"rho": 0.3, "warp": "cdf"}),
    "asinh": (make_warped_gaussians, {"rho": 0.3, "warp": "asinh"}),
    "spirals": (make_spirals, {"rho": 0.4, "n_features": 3}),
    "pairs": (make_paired_gaussians, {"total_correlation": 0.5, "n_features": 5}),
    "t": (make_multivariate_t, {"rho": 0.2, "df": 20.0, "n_features": 2}),
    "mixture": (make_gaussian_mixture, {"rho": 0.3, "shift": 0.5}),
    "labels": (make_shared_latent, {"n_classes": 4, "flip": 0.4}),
}
STRONG = {
    "strong gaussians": (make_correlated_gaussians, {"rho": 0.8, "n_features": 4}),
    "four gaussians": (make_correlated_gaussians, {"rho": 0.5, "n_modalities": 4}),
    "strong cube": (make_warped_gaussians, {"rho": 0.9, "warp": "cube"}),
    "strong spirals": (make_spirals, {"rho": 0.8, "n_modalities": 3, "speed": 2.0}),
    "strong pairs": (make_paired_gaussians, {"total_correlation": 10.0, "n_features": 5}),
    "three pairs": (make_paired_gaussians, {"total_correlation": 3.0, "n_features": 2, "n_pairs": 3}),
    "heavy t": (make_multivariate_t, {"rho": 0.5, "df": 1.0, "n_features": 2}),
    "uncorrelated t": (make_multivariate_t, {"rho": 0.0, "df": 2.0, "n_modalities": 4}),
    "strong mixture": (make_gaussian_mixture, {"rho": 0.9, "n_features": 3}),
    "shifted mixture": (make_gaussian_mixture, {"rho": 0.0, "shift": 2.0, "n_modalities": 2}),
    "strong labels": (make_shared_latent, {"n_classes": 10, "total_correlation": 3.0}),
    "equal labels": (make_shared_latent, {"n_classes": 3, "flip": 0.0, "n_modalities": 4}),
}
CASES = {**WEAK, **STRONG}


@pytest.fixture(params=CASES)
def case(request):
    """Maker and parameters of each setting in turn."""
    return CASES[request.param]


def mixture_error(maker, truth):
    return max(MIXTURE_ERROR, MIXTURE_RELATIVE_ERROR * truth) if maker is make_gaussian_mixture else 0.0


# -- the truth ---------------------------------------------------------------------------------------------------------


def test_truth__mean_log_ratio_of_many_samples__agrees(case):
    maker, parameters = case
    n = 200_000
    _, truth, log_ratio = maker(n, return_log_ratio=True, random_state=0, **parameters)
    assert log_ratio.shape == (n,)
    error = math.hypot(log_ratio.std() / math.sqrt(n), mixture_error(maker, truth))
    assert abs(log_ratio.mean() - truth) <= 4 * error + 1e-12


@pytest.mark.parametrize("name", WEAK)
def test_log_ratio__exponential_over_re_paired_samples__averages_to_one(name):
    maker, parameters = WEAK[name]
    n = 100_000
    X, _, log_ratio = maker(n, return_log_ratio="callable", random_state=1, **parameters)
    ratio = np.exp(log_ratio({name: np.roll(x, 7 * j, axis=0) for j, (name, x) in enumerate(X.items())}))
    assert abs(ratio.mean() - 1) <= 4 * ratio.std() / math.sqrt(n)


@pytest.mark.parametrize(("m", "d", "rho"), [(2, 1, 0.5), (3, 2, 0.8), (4, 3, -0.3), (3, 1, 0.0)])
def test_gaussians__truth_and_log_ratio__are_those_of_their_covariance(m, d, rho):
    X, truth, log_ratio = make_correlated_gaussians(
        50, n_modalities=m, n_features=d, rho=rho, return_log_ratio=True, random_state=0
    )
    covariance = np.kron(np.full((m, m), rho) + (1 - rho) * np.eye(m), np.eye(d))
    assert_allclose(truth, -0.5 * np.linalg.slogdet(covariance)[1], atol=1e-12)
    stacked = np.hstack(list(X.values()))
    expected = stats.multivariate_normal(cov=covariance).logpdf(stacked) - stats.norm.logpdf(stacked).sum(axis=1)
    assert_allclose(log_ratio, expected, atol=1e-10)


@pytest.mark.parametrize("rho", [-0.4, 0.7])
def test_gaussians__sample_covariance__is_rho_between_equal_features_only(rho):
    X, _ = make_correlated_gaussians(100_000, n_features=2, rho=rho, random_state=0)
    expected = np.kron(np.full((3, 3), rho) + (1 - rho) * np.eye(3), np.eye(2))
    assert_allclose(np.cov(np.hstack(list(X.values())), rowvar=False), expected, atol=0.02)


@pytest.mark.parametrize("rho", [1 - 1e-12, -0.5 + 1e-12])
def test_gaussians__almost_degenerate__keep_their_digits(rho):
    _, truth, log_ratio = make_correlated_gaussians(20_000, rho=rho, return_log_ratio=True, random_state=0)
    assert abs(log_ratio.mean() - truth) <= 4 * log_ratio.std() / math.sqrt(20_000)


def test_pairs__log_ratio__is_that_of_the_block_covariance():
    X, truth, log_ratio = make_paired_gaussians(
        50, n_features=3, total_correlation=1.2, return_log_ratio=True, random_state=0
    )
    rho = math.sqrt(1 - math.exp(-2 * 0.6 / 3))  # each pair has half of the total
    pair = np.kron([[1, rho], [rho, 1]], np.eye(3))
    stacked = np.hstack(list(X.values()))
    expected = sum(stats.multivariate_normal(cov=pair).logpdf(half) for half in (stacked[:, :6], stacked[:, 6:]))
    assert_allclose(log_ratio, expected - stats.norm.logpdf(stacked).sum(axis=1), atol=1e-10)
    assert truth == pytest.approx(1.2)


def test_t__log_ratio__is_that_of_its_densities():
    X, _, log_ratio = make_multivariate_t(50, n_features=2, rho=0.6, df=2.5, return_log_ratio=True, random_state=0)
    shape = np.kron(np.full((3, 3), 0.6) + 0.4 * np.eye(3), np.eye(2))
    expected = stats.multivariate_t(shape=shape, df=2.5).logpdf(np.hstack(list(X.values())))
    for x in X.values():
        expected = expected - stats.multivariate_t(shape=np.eye(2), df=2.5).logpdf(x)
    assert_allclose(log_ratio, expected, atol=1e-10)


def test_t__many_degrees_of_freedom__tend_to_the_gaussian():
    truths = [make_multivariate_t(10, rho=0.5, df=df)[1] for df in (1e2, 1e4, 1e6)]
    gaussian = make_correlated_gaussians(10, rho=0.5)[1]
    assert_allclose(np.array(truths) - gaussian, 0, atol=1e-3)
    assert_allclose(truths[-1], gaussian, atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mixture__log_ratio__is_that_of_its_densities(shift):
    X, _, log_ratio = make_gaussian_mixture(50, rho=0.6, shift=shift, return_log_ratio=True, random_state=0)
    flip = np.diag([-1, 1, 1])
    plus = np.full((3, 3), 0.6) + 0.4 * np.eye(3)
    populations = [(shift * np.ones(3), plus), (-shift * np.ones(3), flip @ plus @ flip)]
    stacked = np.hstack(list(X.values()))
    joint = sum(0.5 * stats.multivariate_normal(mean, cov).pdf(stacked) for mean, cov in populations)
    margins = 0.5 * stats.norm.pdf(stacked - shift) + 0.5 * stats.norm.pdf(stacked + shift)
    assert_allclose(log_ratio, np.log(joint) - np.log(margins).sum(axis=1), atol=1e-10)


def test_mixture__without_shift__is_dependent_where_it_is_uncorrelated():
    X, truth = make_gaussian_mixture(50_000, rho=0.8, random_state=0)
    correlations = np.corrcoef(np.hstack(list(X.values())), rowvar=False)
    assert_allclose(correlations[0, 1:], 0, atol=0.03)
    assert correlations[1, 2] == pytest.approx(0.8, abs=0.02)
    assert truth > -0.5 * math.log(1 - 0.8**2) + 0.1  # what the last two share, and more


# -- discrete makers, by enumeration -----------------------------------------------------------------------------------


def label_probabilities(m, k, flip):
    """Joint probability of every combination of labels, as an array (k,) * m."""
    channel = np.full((k, k), flip / (k - 1)) + (1 - flip - flip / (k - 1)) * np.eye(k)
    table = np.zeros((k,) * m)
    for hidden in range(k):
        term = np.ones(())
        for _ in range(m):
            term = np.multiply.outer(term, channel[hidden])
        table += term / k
    return table


@pytest.mark.parametrize(("m", "k", "flip"), [(2, 2, 0.1), (3, 4, 0.25), (5, 3, 0.5), (4, 2, 0.5), (3, 6, 0.0)])
def test_labels__truth_and_log_ratio__are_those_of_the_enumerated_table(m, k, flip):
    X, truth, log_ratio = make_shared_latent(
        3000, n_modalities=m, n_classes=k, flip=flip, return_log_ratio=True, random_state=0
    )
    table = label_probabilities(m, k, flip)
    seen = table[table > 0]
    assert table.sum() == pytest.approx(1)
    assert_allclose(truth, (seen * (np.log(seen) + m * math.log(k))).sum(), atol=1e-12)
    # Values that samples show are those of the table, and as often as it says.
    values, counts = np.unique(np.round(np.log(seen) + m * math.log(k), 9), return_counts=True)
    shown, often = np.unique(np.round(log_ratio, 9), return_counts=True)
    assert np.isin(shown, values).all()
    probability = {v: c * math.exp(v) / k**m for v, c in zip(values, counts, strict=True)}
    expected = np.array([probability[v] for v in shown])
    assert_allclose(often / len(X), expected, atol=4 * 0.5 / math.sqrt(len(X)))


@pytest.mark.parametrize("d", [1, 2, 12])
def test_labels__modality__shows_its_label_without_error(d):
    # Without flips the log ratio is finite only where all modalities show one label.
    n, k = 20_000, 7
    X, _, log_ratio = make_shared_latent(
        n, n_features=d, n_classes=k, flip=0.0, return_log_ratio="callable", random_state=0
    )
    assert_allclose(log_ratio(X), 2 * math.log(k), rtol=1e-12)
    values = log_ratio({name: np.roll(x, j, axis=0) for j, (name, x) in enumerate(X.items())})
    assert_allclose(values[np.isfinite(values)], 2 * math.log(k), rtol=1e-12)
    assert np.isneginf(values[~np.isfinite(values)]).all()
    assert np.isfinite(values).mean() == pytest.approx(1 / k**2, abs=4 * math.sqrt(1 / k**2 / n))


def entropy(*columns):
    """Entropy in nats of the empirical distribution of columns of small integers."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        code = code * (int(column.max()) + 1) + column.ravel()
    return stats.entropy(np.unique(code, return_counts=True)[1])


@pytest.mark.parametrize(
    ("m", "counts"),
    [
        (2, {"n_redundant": 1, "n_unique": 1, "n_synergistic": 1, "n_parity": 1}),
        (3, {"n_redundant": 2, "n_unique": 0, "n_synergistic": 1, "n_parity": 1}),
        (3, {"n_redundant": 0, "n_unique": 2, "n_synergistic": 1, "n_parity": 0}),
        (4, {"n_redundant": 1, "n_unique": 0, "n_synergistic": 0, "n_parity": 2}),
    ],
)
def test_partial_information__truth__is_that_of_the_empirical_distribution(m, counts):
    n = 50_000
    X, y, truth = make_partial_information(n, n_modalities=m, random_state=0, **counts)
    bits = [np.packbits(x > 0, axis=1) for x in X.values()]

    def shared_with_y(*given):
        return entropy(*given) + entropy(y) - entropy(y, *given)

    found = {
        "total_correlation": sum(entropy(x) for x in bits) - entropy(*bits),
        "one": shared_with_y(bits[0]),
        "all_but_one": shared_with_y(*bits[:-1]),
        "all": shared_with_y(*bits),
    }
    for name, value in found.items():
        assert value == pytest.approx(truth[name], abs=0.01), name  # the bias is 500 / 2n at most
    parts = truth["redundant"] + truth["unique"] + truth["synergistic"]
    assert parts == pytest.approx(truth["all"])
    assert truth["one"] == pytest.approx(truth["redundant"] + truth["unique"] / m)
    assert y.min() == 0 and y.max() == 2 ** round(truth["all"] / math.log(2)) - 1


def test_partial_information__parity__shows_only_in_all_modalities_together():
    n = 100_000
    X, y, truth = make_partial_information(n, n_redundant=0, n_unique=0, n_synergistic=0, n_parity=1, random_state=0)
    bits = [x > 0 for x in X.values()]
    assert truth["total_correlation"] == pytest.approx(math.log(2))
    for pair in itertools.combinations(bits, 2):
        assert entropy(*pair) == pytest.approx(2 * math.log(2), abs=1e-3)
    assert not np.logical_xor.reduce(bits).any()
    assert not y.any()


@pytest.mark.parametrize("noise", [0.0, 0.999])
def test_partial_information__columns__are_signs_with_noise(noise):
    X, _, _ = make_partial_information(500, noise=noise, random_state=0)
    for x in X.values():
        assert np.abs(np.abs(x) - 1).max() <= noise


# -- marginals and maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maker", "parameters", "cdf"),
    [
        (make_correlated_gaussians, {"rho": 0.7}, stats.norm.cdf),
        (make_spirals, {}, stats.norm.cdf),
        (make_paired_gaussians, {}, stats.norm.cdf),
        (make_warped_gaussians, {"warp": "cdf"}, stats.uniform.cdf),
        (make_warped_gaussians, {"warp": "cube"}, lambda x: stats.norm.cdf(np.cbrt(x))),
        (make_warped_gaussians, {"warp": "asinh"}, lambda x: stats.norm.cdf(np.sinh(x))),
        (make_multivariate_t, {"df": 2.5}, stats.t(2.5).cdf),
        (make_gaussian_mixture, {"shift": 1.0}, lambda x: (stats.norm.cdf(x - 1) + stats.norm.cdf(x + 1)) / 2),
    ],
)
def test_marginal__each_column__has_its_distribution(maker, parameters, cdf):
    X, _ = maker(5000, random_state=0, **parameters)
    for x in X.values():
        for column in x.T[:2]:
            assert stats.kstest(column, cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("warp", "function"), [("cube", lambda x: x**3), ("cdf", stats.norm.cdf), ("asinh", np.arcsinh)]
)
def test_warp__samples_of_the_same_seed__are_the_gaussians_warped(warp, function):
    parameters = {"n_features": 2, "rho": 0.6, "return_log_ratio": True, "random_state": 3}
    plain, truth, log_ratio = make_correlated_gaussians(200, **parameters)
    warped, warped_truth, warped_log_ratio = make_warped_gaussians(200, warp=warp, **parameters)
    for name, x in plain.items():
        assert_allclose(warped[name], function(x), rtol=1e-12)
    assert warped_truth == truth
    assert_allclose(warped_log_ratio, log_ratio, atol=1e-6)


def test_spirals__samples_of_the_same_seed__are_the_gaussians_turned():
    parameters = {"n_modalities": 2, "n_features": 4, "rho": 0.6, "return_log_ratio": True, "random_state": 3}
    plain, truth, log_ratio = make_correlated_gaussians(200, **parameters)
    wound, wound_truth, wound_log_ratio = make_spirals(200, speed=0.7, **parameters)
    for name, x in plain.items():
        assert_allclose(np.linalg.norm(wound[name], axis=1), np.linalg.norm(x, axis=1))
        assert_array_equal(wound[name][:, 2:], x[:, 2:])
        plane, wound_plane = (z[:, 0] + 1j * z[:, 1] for z in (x, wound[name]))
        assert_allclose(wound_plane, plane * np.exp(0.7j * (x**2).sum(axis=1)))
    assert wound_truth == truth
    assert_allclose(wound_log_ratio, log_ratio, atol=1e-9)


# -- parameters and returned forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "maker", [make_correlated_gaussians, make_warped_gaussians, make_spirals, make_paired_gaussians]
)
@pytest.mark.parametrize("wanted", [0.0, 0.35, 3.0, 11.3])
def test_total_correlation__gaussian_makers__have_what_was_asked_for(maker, wanted):
    _, truth = maker(20, n_features=4, total_correlation=wanted)
    assert truth == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("wanted", [0.0, 1e-6, 0.5, 3.0, 2 * np.log(10)])
def test_total_correlation__labels__have_what_was_asked_for(wanted):
    _, truth = make_shared_latent(20, n_classes=10, total_correlation=wanted)
    assert truth == pytest.approx(wanted, abs=1e-9)


def test_truth__independent_settings__is_zero():
    assert make_correlated_gaussians(5, rho=0.0)[1] == 0
    assert make_gaussian_mixture(5, rho=0.0)[1] == pytest.approx(0, abs=1e-12)
    assert make_shared_latent(5, n_classes=4, flip=0.75)[1] == pytest.approx(0, abs=1e-12)
    assert make_partial_information(5, n_redundant=0)[2]["total_correlation"] == 0


def test_result__any_maker__is_a_modality_dict_that_can_be_indexed(case):
    maker, parameters = case
    X, truth = maker(10, random_state=0, **parameters)
    assert isinstance(X, ModalityDict) and isinstance(truth, float)
    assert list(X) == ["audio", "visual", "text", "m3", "m4", "m5"][: len(X.keys())]
    assert len(X[2:5]) == 3
    for x in X.values():
        assert x.dtype == np.float64 and np.isfinite(x).all()
        assert x.shape == (10, parameters.get("n_features", x.shape[1]))


def test_log_ratio__callable__gives_what_is_returned_at_the_samples(case):
    maker, parameters = case
    X, truth, values = maker(50, return_log_ratio=True, random_state=0, **parameters)
    same, same_truth, log_ratio = maker(50, return_log_ratio="callable", random_state=0, **parameters)
    assert same == X and same_truth == truth
    assert_array_equal(log_ratio(X), values)
    rows = {name: x[[4, 2]].tolist() for name, x in reversed(X.items())}  # any container, in any order
    assert_allclose(log_ratio(rows), values[[4, 2]])


def test_random_state__any_maker__decides_the_samples_and_nothing_else(case):
    maker, parameters = case
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    X, truth = maker(30, random_state=0, **parameters)
    again, _ = maker(30, random_state=np.random.RandomState(0), **parameters)
    other, other_truth = maker(30, random_state=1, **parameters)
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert X == again and X != other
    assert truth == other_truth


def test_random_state__partial_information__decides_the_samples():
    (X, y, _), (again, y_again, _) = (make_partial_information(30, random_state=0) for _ in range(2))
    assert X == again
    assert_array_equal(y, y_again)
    assert X != make_partial_information(30, random_state=1)[0]


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maker", "parameters"),
    [
        (make_correlated_gaussians, {"n_samples": 0}),
        (make_correlated_gaussians, {"n_samples": 10.0}),
        (make_correlated_gaussians, {"n_modalities": 1}),
        (make_correlated_gaussians, {"n_features": True}),
        (make_correlated_gaussians, {"rho": 1.0}),
        (make_correlated_gaussians, {"rho": -0.5}),
        (make_correlated_gaussians, {"rho": "0.5"}),
        (make_correlated_gaussians, {"rho": float("nan")}),
        (make_correlated_gaussians, {"total_correlation": -0.1}),
        (make_correlated_gaussians, {"total_correlation": 1e3}),
        (make_correlated_gaussians, {"return_log_ratio": "yes"}),
        (make_warped_gaussians, {"warp": "square"}),
        (make_warped_gaussians, {"rho": 2}),
        (make_spirals, {"n_features": 1}),
        (make_spirals, {"speed": 1e9}),
        (make_paired_gaussians, {"n_pairs": 0}),
        (make_paired_gaussians, {"total_correlation": None}),
        (make_paired_gaussians, {"total_correlation": float("nan")}),
        (make_multivariate_t, {"df": 0}),
        (make_multivariate_t, {"df": 1e9}),
        (make_multivariate_t, {"rho": -0.5}),
        (make_gaussian_mixture, {"rho": 1}),
        (make_gaussian_mixture, {"shift": float("nan")}),
        (make_gaussian_mixture, {"shift": 1e20}),
        (make_shared_latent, {"n_classes": 1}),
        (make_shared_latent, {"flip": 0.9}),
        (make_shared_latent, {"flip": -0.1}),
        (make_shared_latent, {"total_correlation": 10.0}),
        (make_partial_information, {"n_parity": -1}),
        (make_partial_information, {"n_redundant": 0.5}),
        (make_partial_information, {"noise": 1.0}),
        (make_partial_information, {"n_redundant": 0, "n_unique": 0, "n_synergistic": 0}),
    ],
)
def test_bad_value__any_maker__is_refused_by_name(maker, parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        maker(**parameters)


def test_partial_information__more_bits_than_an_integer_holds__is_refused():
    with pytest.raises(ValueError, match="63 bits"):
        make_partial_information(5, n_redundant=63, n_unique=0, n_synergistic=0)


def test_cases__every_maker__has_one():
    makers = {maker.__name__ for maker, _ in CASES.values()} | {"make_partial_information"}
    assert makers == {name for name in datasets.__all__ if name.startswith("make_")}
