"""Why a fusion estimator lacks an attribute that only some fits make, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from ..persistence._savable import why_no_names
from ._few_labels import FEW_LABELS
from ._lam_path import MIN_SAMPLES, MIN_SAMPLES_PER_CLASS

# Reasons why no fold was held out, which a fit leaves in ``_not_held_out``.
STREAMED = "partial_fit trains every network on every row. Call fit, on rows that are there at once"
PASSED = "X_val and y_val took the place of held-out rows. Leave them out"
SWITCHED_OFF = 'early_stopping=False holds none out. Leave early_stopping="auto", or give a cv'


def why_none_held_out(early_stopping: Any, y: np.ndarray, fewest: int) -> str:
    """Reason why a fit on rows of these labels held none out, as ``early_stopping`` says; at least ``fewest`` ask."""
    if early_stopping != "auto":
        return SWITCHED_OFF
    cure = "Give a cv, early_stopping=True, or more rows with a label"
    if len(y) < fewest:
        return f"{len(y)} rows with a label are fewer than the {fewest} needed. {cure}"
    return (
        f"a class here has {np.bincount(y).min()} rows with a label, of at least {FEW_LABELS} needed beside rows "
        f"without one. {cure}"
    )


def _no_folds(estimator: Any) -> str:
    kept = vars(estimator)
    if kept["_n_members"] == 1:
        return "a single network predicts no row out of fold. Set n_estimators to 2 or more"
    if reason := _not_held_out(estimator):
        return reason
    if kept.get("_seen_by_all"):
        return "the networks that warm_start=True went on with had seen every row before. Set warm_start=False"
    return "training was interrupted. Fit again"


def _not_held_out(estimator: Any) -> str:
    reason = vars(estimator).get("_not_held_out")
    return reason if type(reason) is str else ""  # a file may say anything


def _no_out_of_fold(name: str) -> Callable[[Any], str]:
    def why(estimator: Any) -> str:
        usual = "oof_decision_function_" if "classes_" in vars(estimator) else "oof_prediction_"
        if name not in ("oof_score_", usual):
            return f"what {type(estimator).__name__} predicts out of fold is {usual}."
        return f"{name} is there when folds held rows out: {_no_folds(estimator)}."

    return why


def _no_lam_path(estimator: Any) -> str:
    kept = vars(estimator)
    if len(kept["modalities_"]) == 1:
        return "a single modality has no dependency whose weight could be chosen."
    if isinstance(kept.get("lam"), Real):
        return 'lam was a number. lam_path_ is there after lam="auto" or several numbers.'
    reason = _not_held_out(estimator)
    if reason and reason != PASSED:
        return f"lam_path_ is there when rows were held out to compare on: {reason}."
    fewest = f"{MIN_SAMPLES_PER_CLASS} of every class" if "classes_" in kept else f"{MIN_SAMPLES}"
    return (
        f"lam_path_ is there when there are several lam and at least {fewest} held-out rows to compare them on, in a "
        "fit that was not interrupted and is no warm start."
    )


def _no_critic(estimator: Any) -> str:
    kept = vars(estimator)
    if len(kept["modalities_"]) == 1:
        return "a single modality has no dependency to report."
    if kept.get("lam_") == 0:
        return "lam_ is 0, and fit trains this critic at lam > 0. Call fit_dependency(X), or set lam."
    return (
        "fit trains this critic where enough rows have every modality, unless it is interrupted, and partial_fit "
        "never does. Call fit_dependency(X)."
    )


def _no_imputer(estimator: Any) -> str:
    if vars(estimator).get("missing") not in ("auto", "critic"):
        return 'imputer_ is there with missing="auto" or "critic". Set that, and call fit or fit_dependency(X).'
    if "reporting_critic_" in vars(estimator):
        return "fit_dependency(X) makes it, after a change of missing, too."
    return f"imputer_ completes rows by the critic that reports: {_no_critic(estimator)}"


def _no_blend(estimator: Any) -> str:
    if vars(estimator)["_n_members"] == 1:
        return "a single network is averaged with nothing. Set n_estimators to 2 or more."
    if _not_held_out(estimator) == STREAMED:
        return "after partial_fit all networks have equal weights. Call fit, on rows that are there at once."
    return (
        'there is one group of networks and no model beside it. Set scaling="auto", linear_member=True or '
        "kernel_member=True."
    )


WHY_ABSENT: Mapping[str, Callable[[Any], str]] = {
    "feature_names_in_": why_no_names,
    "lam_path_": _no_lam_path,
    "reporting_critic_": _no_critic,
    "imputer_": _no_imputer,
    "blend_weights_": _no_blend,
    **{name: _no_out_of_fold(name) for name in ("oof_score_", "oof_prediction_", "oof_decision_function_")},
}
