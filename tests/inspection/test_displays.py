"""Displays: the artists hold the numbers, labels do not overlap, and series differ without colour."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor, ModalityDict, ModalityTransformer
from sklearn_mdm.dependency._coefficient import coefficient
from sklearn_mdm.inspection import (
    DependencyDisplay,
    FusionMapDisplay,
    LamPathDisplay,
    ModalityDropDisplay,
    TrainingDisplay,
    modality_drop,
    rank_samples,
)
from sklearn_mdm.inspection._display import graded_colors
from sklearn_mdm.inspection._training_display import _std_over_members
from sklearn_mdm.metrics import dependency_scorer

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(160, 1))
    X = ModalityDict({name: shared + rng.normal(size=(160, 2)) for name in ("audio", "text", "visual")})
    return X, shared[:, 0]


@pytest.fixture(scope="module")
def model(data):
    X, y = data
    return MDMFusionRegressor(n_estimators=1, lam=0.1, max_epochs=4, device="cpu", random_state=0).fit(X[:120], y[:120])


@pytest.fixture(scope="module")
def displays(data, model):
    """One display of each kind, drawn by the name of its class, by a function that draws it."""
    X, y = data
    test, y_test = X[120:], y[120:]
    rng = np.random.default_rng(0)
    many = pd.DataFrame(
        [
            (tuple("abcdef")[k:], tuple("abcdef")[:k], 1 - 0.1 * k + 0.05 * rng.normal(), 0.1, 0.0, 0.0)
            for k in range(6)
            for _ in range(4)
        ],
        columns=["kept", "dropped", "score", "score_std", "change", "change_std"],
    )
    wide = rng.normal(size=(300, 2))
    return {
        "ModalityDropDisplay": lambda: ModalityDropDisplay.from_estimator(model, test, y_test, random_state=0),
        "ModalityDropDisplay, strata": lambda: ModalityDropDisplay(many).plot(),
        "DependencyDisplay": lambda: DependencyDisplay.from_estimator(
            model, test, samples={0: "first", 3: "another", 7: "third"}, random_state=0
        ),
        "LamPathDisplay": lambda: LamPathDisplay(
            np.array([0, 0.01, 0.03, 0.1, 0.3, 1.0]),
            np.linspace(0.8, 0.9, 6),
            np.full(6, 0.01),
            np.r_[np.nan, np.linspace(1.1, 2, 5)],
            np.full(6, 0.1),
        ).plot(),
        "TrainingDisplay": lambda: TrainingDisplay.from_estimator(model),
        "FusionMapDisplay": lambda: FusionMapDisplay(wide, np.arange(300) % 10).plot(),
        "FusionMapDisplay, numbers": lambda: FusionMapDisplay.from_estimator(model, test, y_test),
    }


ALL = [
    "ModalityDropDisplay",
    "ModalityDropDisplay, strata",
    "DependencyDisplay",
    "LamPathDisplay",
    "TrainingDisplay",
    "FusionMapDisplay",
    "FusionMapDisplay, numbers",
]


# -- by image ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_display__rendered__labels_are_inside_and_do_not_overlap(displays, name):
    figure = displays[name]().figure_
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [
                t.label1 if t.label1.get_visible() and t.label1.get_text() else t.label2 for t in axis.get_major_ticks()
            ]
            shown = [
                label
                for label, at in zip(ticks, axis.get_majorticklocs(), strict=True)
                if label.get_visible() and label.get_text() and low <= at <= high
            ]
            boxes = [label.get_window_extent(renderer) for label in shown]
            assert all(not a.overlaps(b) for a, b in itertools.combinations(boxes, 2)), f"{axis} has overlapping labels"
            texts = [*shown, axis.label, ax.title, *(ax.get_legend().get_texts() if ax.get_legend() else [])]
            for text in texts:
                box = text.get_window_extent(renderer)
                if text.get_text() and box.width:
                    assert figure.bbox.x0 <= box.x0 + 1 and box.x1 <= figure.bbox.x1 + 1, text
                    assert figure.bbox.y0 <= box.y0 + 1 and box.y1 <= figure.bbox.y1 + 1, text
        assert ax.get_ylabel()
        assert ax.get_xlabel() or ax.get_label() == "<colorbar>" or ax is not figure.axes[-1]
    places = [ax.get_window_extent(renderer) for ax in figure.axes]
    assert all(not a.overlaps(b) for a, b in itertools.combinations(places, 2)), "two axes share their place"


@pytest.mark.parametrize("name", ALL)
def test_display__rendered__has_something_dark_and_something_light(displays, name):
    figure = displays[name]().figure_
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(float) / 255
    grey = pixels @ [0.299, 0.587, 0.114]
    assert grey.min() < 0.2 and grey.max() == pytest.approx(1.0)
    assert 0.01 < (grey < 0.95).mean() < 0.9


def luminance(color):
    return float(np.dot(matplotlib.colors.to_rgb(color), [0.299, 0.587, 0.114]))


def test_displays__lines__differ_in_luminance_and_in_style(displays):
    lam_path, training, strata = (displays[name]() for name in (ALL[3], ALL[4], ALL[1]))
    series = [
        [lam_path.score_line_.lines[0], lam_path.dependency_line_.lines[0]],
        [training.task_line_, training.validation_line_, training.dependency_line_],
        [strata.points_, strata.line_],
    ]
    for lines in series:
        for a, b in itertools.combinations(lines, 2):
            assert abs(luminance(a.get_color()) - luminance(b.get_color())) > 0.15
            assert (a.get_linestyle(), a.get_marker()) != (b.get_linestyle(), b.get_marker())


def test_displays__areas__differ_in_luminance_and_in_hatch(displays):
    drop, dependency = displays["ModalityDropDisplay"](), displays["DependencyDisplay"]()
    kinds = {len(dropped): bar for dropped, bar in zip(drop.table["dropped"], drop.bars_, strict=True)}
    for a, b in itertools.combinations(kinds.values(), 2):
        assert abs(luminance(a.get_facecolor()) - luminance(b.get_facecolor())) > 0.15
        assert a.get_hatch() != b.get_hatch()
    null, values = dependency.null_[0], dependency.values_[0]
    assert abs(luminance(null.get_facecolor()) - luminance(values.get_edgecolor())) > 0.15
    assert null.get_hatch() and not values.get_fill()
    assert len({mark.get_marker() for mark in dependency.marks_}) == 3


def test_fusion_map_display__ten_classes__differ_in_luminance_and_in_marker(displays):
    display = displays["FusionMapDisplay"]()
    colors = [points.get_facecolor()[0][:3] for points in display.points_]
    assert np.diff([luminance(color) for color in colors]).min() > 0.02
    assert min(np.abs(a - b).sum() for a, b in itertools.combinations(colors, 2)) > 0.25
    paths = [points.get_paths()[0].vertices for points in display.points_]
    assert all(a.shape != b.shape or not np.allclose(a, b) for a, b in itertools.combinations(paths, 2))
    assert np.diff([luminance(color) for color in graded_colors(4)]).min() > 0.1


# -- by data -----------------------------------------------------------------------------------------------------------


def test_modality_drop_display__bars__hold_the_table(data, model):
    X, y = data
    table = modality_drop(model, X[120:], y[120:], random_state=0)
    display = ModalityDropDisplay.from_estimator(model, X[120:], y[120:], random_state=0)
    pd.testing.assert_frame_equal(display.table, table)
    assert [bar.get_width() for bar in display.bars_] == table["score"].tolist()
    segments = display.bars_.errorbar.lines[2][0].get_segments()
    half = [(segment[1, 0] - segment[0, 0]) / 2 for segment in segments]
    np.testing.assert_allclose(half, table["score_std"])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [" + ".join(kept) for kept in table["kept"]]
    assert display.ax_.get_xlabel() == "score"


def test_modality_drop_display__many_subsets__are_points_by_number_left_out(displays):
    display = displays["ModalityDropDisplay, strata"]()
    assert display.bars_ is None
    np.testing.assert_array_equal(display.points_.get_ydata(), display.table["score"])
    np.testing.assert_array_equal(display.points_.get_xdata(), display.table["dropped"].map(len))
    means = display.table.groupby(display.table["dropped"].map(len))["score"].mean()
    np.testing.assert_allclose(display.line_.get_ydata(), means)
    (bars,) = display.ax_.collections
    np.testing.assert_allclose([np.ptp(bar[:, 1]) for bar in bars.get_segments()], 2 * display.table["score_std"])
    assert ModalityDropDisplay(display.table).plot(kind="bars").bars_ is not None
    with pytest.raises(ValueError, match="kind must be"):
        ModalityDropDisplay(display.table).plot(kind="pie")


def test_dependency_display__histograms__are_densities_of_values_and_null(data, model):
    X, _ = data
    test = X[120:].copy()
    test["text"] = np.where(np.arange(40)[:, None] == 5, np.nan, test["text"])
    display = DependencyDisplay.from_estimator(model, test, samples=[3, -1], n_negatives=4, random_state=0)
    values = model.pointwise_dependency(test)
    np.testing.assert_allclose(display.values, values)
    assert display.null.shape == (4, 39)
    edges = np.histogram_bin_edges(np.r_[values[~np.isnan(values)], display.null.ravel()], 40)
    np.testing.assert_allclose([patch.get_x() for patch in display.null_], edges[:-1])
    heights = [patch.get_height() for patch in display.null_]
    np.testing.assert_allclose(heights, np.histogram(display.null, edges, density=True)[0])
    np.testing.assert_allclose([mark.get_xdata()[0] for mark in display.marks_], [values[3], values[-1]])
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    mean = np.nanmean(values)
    with pytest.warns(UserWarning, match="left out"):
        _, std = model.dependency_score(test, return_std=True)
    label = f"samples, mean {mean:.3g} ± {std:.2g} ({coefficient(mean):.3g})"
    assert {f"sample 3: {values[3]:.1f}", label} <= set(legend)
    plain = DependencyDisplay(values, display.null).plot().ax_.get_legend().get_texts()
    assert plain[1].get_text() == f"samples, mean {mean:.3g} ({coefficient(mean):.3g})"
    ranked = rank_samples(model, test, n_negatives=4, random_state=0).set_index("sample")
    below = np.mean((display.null < values[3]) + (display.null == values[3]) / 2) * 100
    assert ranked.loc[3, "null_percentile"] == pytest.approx(below)
    for bad in (5, 40):
        with pytest.raises(ValueError, match=f"sample {bad} cannot be marked"):
            DependencyDisplay(values, display.null, samples=[bad]).plot()


def test_modality_drop_display__missing_modality__warns_at_the_caller(data, model):
    X, y = data
    test = X[120:].copy()
    test["text"] = np.where(np.arange(40)[:, None] == 5, np.nan, test["text"])
    with pytest.warns(UserWarning, match="1 of 40 samples are left out") as caught:
        ModalityDropDisplay.from_estimator(model, test, y[120:], random_state=0)
    assert [warning.filename for warning in caught] == [__file__]


def test_dependency_display__dependency_estimator__is_drawn_too(data):
    X, _ = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = DependencyEstimator(cv=None, max_updates=20, random_state=0).fit(X[:120])
    display = DependencyDisplay.from_estimator(estimator, X[120:], random_state=0)
    np.testing.assert_allclose(display.values, estimator.score_samples(X[120:]), atol=1e-9)
    assert display.mean_std == pytest.approx(
        estimator.critics_[0].critics["audio; text; visual"].score(list(X[120:].values()))[1]
    )


def test_lam_path_display__cv_results__best_of_each_lam_is_shown(data):
    results = {
        "param_fusion__lam": np.ma.array([0.1, 0.1, 0.0, 0.0]),
        "param_fusion__lr": np.ma.array([1, 2, 1, 2]),
        "mean_test_r2": [0.5, 0.6, 0.3, np.nan],
        "std_test_r2": [0.05, 0.06, 0.03, np.nan],
        "mean_test_nats": [1.5, 1.6, np.nan, np.nan],
        "std_test_nats": [0.15, 0.16, np.nan, np.nan],
    }
    display = LamPathDisplay.from_cv_results(results, score="r2", dependency="nats")
    assert display.lam.tolist() == [0.0, 0.1]
    assert display.score_line_.lines[0].get_ydata().tolist() == [0.3, 0.6]
    assert display.score_std.tolist() == [0.03, 0.06]
    np.testing.assert_array_equal(display.dependency_line_.lines[0].get_ydata(), [np.nan, 1.6])
    assert [label.get_text() for label in display.dependency_ax_.get_xticklabels()] == ["0", "0.1"]
    assert LamPathDisplay.from_cv_results(results, score="r2").dependency_ax_ is None
    label = display.dependency_ax_.yaxis.get_major_formatter()
    assert [label(nats) for nats in (-0.2, 0, 0.5, 2.9)] == ["-0.2 (0)", "0 (0)", "0.5 (0.795)", "2.9 (0.998)"]
    with pytest.raises(ValueError, match=r"no metric 'accuracy'; found \['nats', 'r2'\]"):
        LamPathDisplay.from_cv_results(results, score="accuracy")
    with pytest.raises(ValueError, match=r"found \['fusion__lam', 'fusion__lr'\]. Pass param="):
        LamPathDisplay.from_cv_results(results, score="r2", param="lam")


def test_lam_path_display__list_of_grids__rows_without_lam_are_left_out():
    results = {
        "param_lam": np.ma.array([0.1, 7.0, 0.0, 0.1], mask=[0, 1, 0, 0]),  # 7 is what happens to be in memory
        "mean_test_score": [0.5, 0.9, 0.3, 0.6],
        "std_test_score": [0.05, 0.09, 0.03, 0.06],
    }
    display = LamPathDisplay.from_cv_results(results)
    assert display.lam.tolist() == [0.0, 0.1] and display.score.tolist() == [0.3, 0.6]
    results["param_lam"] = np.ma.masked_all(4, dtype=object)
    with pytest.raises(ValueError, match="no value of 'lam': every row is masked"):
        LamPathDisplay.from_cv_results(results)


def test_lam_path_display__search__is_its_results(data):
    X, y = data
    model = MDMFusionRegressor(n_estimators=1, max_epochs=1, device="cpu", random_state=0)
    search = GridSearchCV(
        model, {"lam": [0.1, 0.01]}, scoring={"r2": "r2", "nats": dependency_scorer}, refit="r2", cv=2
    ).fit(X, y)
    display = LamPathDisplay.from_cv_results(search.cv_results_, score="r2", dependency="nats")
    np.testing.assert_array_equal(display.score, search.cv_results_["mean_test_r2"][::-1])
    np.testing.assert_array_equal(display.dependency, search.cv_results_["mean_test_nats"][::-1])


def test_lam_path_display__estimator__is_its_path_with_the_chosen_one_marked(data, model):
    X, y = data
    fitted_with_a_number = model
    model = MDMFusionRegressor(lam=[0, 0.1, 1], n_estimators=2, max_epochs=2, device="cpu", random_state=0)
    pipeline = make_pipeline(ModalityTransformer(StandardScaler()), model).fit(X, y)
    path = pipeline[-1].lam_path_
    display = LamPathDisplay.from_estimator(pipeline)
    np.testing.assert_array_equal(display.score_line_.lines[0].get_ydata(), path["loss"])
    np.testing.assert_array_equal(display.score_std, path["loss_se"])
    np.testing.assert_array_equal(display.dependency_line_.lines[0].get_ydata(), path["dependency"])
    np.testing.assert_array_equal(display.dependency_std, path["dependency_std"])
    assert np.isfinite(path["dependency_std"]).tolist() == [False, True, True] and display.dependency_line_.has_yerr
    assert display.chosen_line_.get_xdata()[0] == np.flatnonzero(path["chosen"])[0]
    with pytest.raises(TypeError, match=r"no choice of lam to draw: .* lam was a number\. lam_path_ is there after"):
        LamPathDisplay.from_estimator(fitted_with_a_number)


def test_lam_path_display__agreement_was_chosen_too__has_the_candidates_of_that():
    path = pd.DataFrame({"lam": [0.0, 0.0, 1.0, 1.0], "agreement": [0.0, 1.0, 0.0, 1.0], "loss": [0.4, 0.3, 0.2, 0.1]})
    path = path.assign(
        loss_se=0.01, dependency=[np.nan, np.nan, 0.5, 0.6], dependency_std=np.nan, chosen=[False, False, False, True]
    )
    fitted = MDMFusionRegressor(lam=[0, 1])
    fitted.net_, fitted.lam_path_, fitted.lam_ = None, path, 1.0
    display = LamPathDisplay.from_estimator(fitted)
    assert display.lam.tolist() == [0.0, 1.0] and display.score.tolist() == [0.3, 0.1]
    assert display.dependency_std is None and not display.dependency_line_.has_yerr  # of single networks
    assert display.chosen_line_.get_xdata()[0] == 1
    fitted.lam_path_ = path.drop(columns="dependency_std")  # as an older version pickled it
    assert LamPathDisplay.from_estimator(fitted).dependency_std is None


def test_training_display__lines__are_the_curves(data, model):
    display = TrainingDisplay.from_estimator(model)
    assert display.task_line_.get_ydata().tolist() == model.loss_curve_
    assert display.validation_line_.get_ydata().tolist() == model.validation_loss_curve_
    assert display.dependency_line_.get_ydata().tolist() == model.dependency_curve_
    assert display.task_line_.get_xdata().tolist() == [1, 2, 3, 4]
    X, y = data
    plain = MDMFusionRegressor(
        n_estimators=1, lam=0.0, early_stopping=False, max_epochs=2, device="cpu", random_state=0
    )
    pipeline = make_pipeline(ModalityTransformer(StandardScaler()), plain).fit(X, y)
    display = TrainingDisplay.from_estimator(pipeline)
    assert display.validation_line_ is display.dependency_line_ is display.dependency_ax_ is None
    assert display.task_line_.get_ydata().tolist() == pipeline[-1].loss_curve_
    with pytest.raises(TypeError, match="LinearRegression has no curves"):
        TrainingDisplay.from_estimator(LinearRegression().fit(X["audio"], y))


def test_fusion_map_display__points__are_the_principal_components(data):
    X, y = data
    labels = np.where(y > 0, "up", "down")
    model = MDMFusionClassifier(n_estimators=1, lam=0.0, max_epochs=1, device="cpu", random_state=0).fit(X, labels)
    display = FusionMapDisplay.from_estimator(model, X, labels)
    fused = model.transform(X)
    centred = fused - fused.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:2].T
    np.testing.assert_allclose(np.abs(display.coordinates), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(display.explained, (sizes**2 / (sizes**2).sum())[:2])
    for points, label in zip(display.points_, ["down", "up"], strict=True):
        np.testing.assert_array_equal(points.get_offsets(), display.coordinates[labels == label])
    numbers = FusionMapDisplay.from_estimator(model, X, y)
    np.testing.assert_array_equal(numbers.points_[0].get_array(), y)
    assert numbers.colorbar_ is not None
    assert len(FusionMapDisplay.from_estimator(model, X).points_) == 1
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FusionMapDisplay.from_estimator(model, X, y[:-1])


def test_fusion_map_display__many_classes_and_columns__are_drawn_or_an_error():
    coordinates = np.random.default_rng(0).normal(size=(36, 2))
    labels = np.array([f"class {i % 12:02d}" for i in range(36)])
    for target in (labels, labels[:, None]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            display = FusionMapDisplay(coordinates, target).plot()
        assert [points.get_label() for points in display.points_] == sorted(set(labels))
        assert len({tuple(points.get_facecolor()[0]) for points in display.points_}) == 12
    for numbers in (np.arange(36), np.arange(36.0)):
        assert len(FusionMapDisplay(coordinates, numbers).plot().points_) == 1
    with pytest.raises(ValueError, match="1d array"):
        FusionMapDisplay(coordinates, np.zeros((36, 2))).plot()


@pytest.mark.parametrize(
    "target", [None, np.repeat([0, 1], 18), np.linspace(0, 1, 36)], ids=["none", "classes", "numbers"]
)
def test_fusion_map_display__own_keywords__may_be_given(target):
    coordinates = np.random.default_rng(0).normal(size=(36, 2))
    for given in ({"color": "red"}, {"c": "red", "marker": "s"}):
        display = FusionMapDisplay(coordinates, target).plot(lw=2, **given)
        for points in display.points_:
            assert points.get_facecolor()[0].tolist() == [1, 0, 0, 1] and points.get_linewidth()[0] == 2


def test_training_display__committee__has_bands_and_names_its_measure(data):
    X, y = data
    model = MDMFusionRegressor(
        n_estimators=3, lam=0.1, measure="wasserstein", max_epochs=3, device="cpu", random_state=0
    ).fit(X, y)
    display = TrainingDisplay.from_estimator(model)
    of_members = np.array([row["train_task_loss_of_members"] for row in model.history_])
    np.testing.assert_allclose(display.task_loss_std, of_members.std(axis=1))
    assert [len(ax.collections) for ax in (display.ax_, display.dependency_ax_)] == [2, 1]
    label = display.dependency_ax_.get_ylabel()
    assert label == "dependency term:\nWasserstein (distance between bounded representations)\n(weight 0.1)"


def test_training_display__members_that_stopped__are_no_part_of_the_band():
    history = [{"key": [1.0, 3.0]}, {"key": [1.0, np.nan]}, {}]
    np.testing.assert_array_equal(_std_over_members(history, "key"), [1, np.nan, np.nan])


@pytest.mark.parametrize("by_hand", [False, True])
def test_display__two_panels__share_the_place_of_the_given_axes(displays, by_hand):
    figure = plt.figure()
    ax = figure.add_axes((0.2, 0.2, 0.6, 0.6)) if by_hand else figure.subplots(1, 2)[0]
    figure.canvas.draw()
    place = ax.get_position()
    display = displays["LamPathDisplay"]().plot(ax=ax)
    panels = [panel.get_position() for panel in (display.ax_, display.dependency_ax_)]
    assert display.dependency_ax_ is not ax and panels[0].y0 > panels[1].y1
    edges = [panels[1].x0, panels[1].y0, panels[0].x1, panels[0].y1]
    np.testing.assert_allclose(edges, [place.x0, place.y0, place.x1, place.y1])


def test_training_display__aliases_of_own_keywords__may_be_given(model):
    display = TrainingDisplay.from_estimator(model, c="red", ls=":")
    assert display.task_line_.get_color() == "red" and display.task_line_.get_linestyle() == ":"


@pytest.mark.parametrize("name", ALL)
def test_display__plot__draws_on_given_axes_and_returns_itself(displays, name):
    display = displays[name]()
    figure, ax = plt.subplots()
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax and display.figure_ is figure
    with plt.rc_context():
        assert display.plot().figure_ is not figure


def test_display__without_matplotlib__says_what_to_install(displays, monkeypatch):
    display = displays["TrainingDisplay"]()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"TrainingDisplay.plot requires matplotlib"):
        display.plot()
