"""What is refused, and with what words. ``python tests/inputs/test_refused.py`` writes the page that lists it."""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import EpochScoring

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.inspection import modality_drop

PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "refused.rst"
HEAD = """\
=================
When X is refused
=================

Nothing is guessed at: what could be read in two ways is an error that says what was found and what to do. Below they
are, as they are raised. ``X`` is a dict of arrays with 300 samples of the modalities "audio" and "text", ``frames`` the
same as data frames with the row labels "s0", "s1", ..., ``table`` one flat frame of both, ``y`` a target, ``c``
classes, ``model`` a regressor that was fitted on ``frames``, ``Regressor`` and ``Classifier`` the two estimators.

.. This page is written by tests/inputs/test_refused.py, which raises every error.
"""

# Section -> what is wrong, and the code that shows it.
CASES = {
    "Rows that do not belong together": [
        ("Tables in different orders", 'Regressor().fit({**frames, "text": frames["text"][::-1]}, labelled_y)'),
        ("A target in another order", "Regressor().fit(frames, labelled_y[::-1])"),
        ("Weights in another order", "Regressor().fit(frames, y, sample_weight=labelled_y.abs()[::-1])"),
        ("Groups in another order", "DependencyEstimator().fit(frames, groups=labelled_y[::-1])"),
        ("Validation targets in another order", "Regressor().fit(frames, y, X_val=frames, y_val=labelled_y[::-1])"),
        ("A score against targets in another order", "model.score(frames, labelled_y[::-1])"),
        ("Different numbers of samples", 'Regressor().fit({**X, "text": X["text"][:-1]}, y)'),
    ],
    "Columns that are not those of fit": [
        ("Columns in another order", 'model.predict({**frames, "text": frames["text"][["fear", "joy"]]})'),
        ("Too many columns", 'model.predict({**X, "text": X["audio"]})'),
        ("A column twice", 'Regressor().fit({**frames, "text": frames["text"][["joy", "joy"]]}, y)'),
        ("A modality that fit did not see", 'model.predict({**X, "video": X["text"]})'),
        ("Vectors for sequences", 'Regressor().fit({"steps": steps, **X}, y).predict({"steps": steps[:, 0], **X})'),
        ("Outputs in another order", "Regressor().fit(X, two, X_val=X, y_val=two[two.columns[::-1]])"),
    ],
    "Values that are not numbers": [
        ("Dates", 'Regressor().fit({**frames, "text": frames["text"].assign(joy=pd.Timestamp("2020-01-01"))}, y)'),
        ("Durations", 'Regressor().fit({**frames, "text": frames["text"].assign(joy=pd.Timedelta(days=1))}, y)'),
        ("Complex numbers", 'Regressor().fit({**X, "text": X["text"] * 1j}, y)'),
        ("Strings in a table", 'Regressor().fit({**frames, "text": frames["text"].assign(joy="much")}, y)'),
        ("Texts", 'Regressor().fit({**X, "text": ["fine"] * 300}, y)'),
        (
            "Vectors beside other columns",
            'Regressor().fit({**frames, "text": frames["text"].assign(joy=list(X["audio"]))}, y)',
        ),
        ("A sparse matrix", 'Regressor().fit({**X, "text": sparse.csr_array(X["text"])}, y)'),
        ("Infinity", 'Regressor().fit({**X, "text": np.where(X["text"] > 3, np.inf, X["text"])}, y)'),
    ],
    "Missing values in the wrong place": [
        ("Every modality of a sample", "Regressor().fit({name: gap(values) for name, values in X.items()}, y)"),
        ("A modality of every training sample", 'Regressor().fit({**X, "text": None}, y)'),
        ("Every label", "Regressor().fit(X, np.full(300, np.nan))"),
        ("Every label of an output", "Regressor().fit(X, np.column_stack([y, np.full(300, np.nan)]))"),
        ("Every label in a score", "model.score(X, np.ma.array(y, mask=True))"),
        ("Labels where a scorer reads them", "modality_drop(model, frames, np.where(y > 2, np.nan, y))"),
        ("Groups", "Regressor().fit(X, y, groups=np.ma.array(np.arange(300), mask=y > 2))"),
    ],
    "Layouts without names": [
        ("A list of modalities", 'Regressor().fit([X["audio"], X["text"]], y)'),
        ("Three dimensions", "Regressor().fit(steps, y)"),
        ("A single feature", 'Regressor().fit({**X, "text": X["text"][:, 0]}, y)'),
        ("Overlapping selectors", 'Regressor(modalities={"audio": [0, 1], "text": [1, 2]}).fit(table, y)'),
        ("Selectors for a dict", 'Regressor(modalities={"audio": [0, 1]}).fit(X, y)'),
        ("A flat table for a fit on a dict", "model.predict(table)"),
        ("Lists of tables with different columns", 'Regressor().fit({**X, "text": tables}, y)'),
        ("Sequences as columns of a frame", "ModalityDict(steps=steps).to_frame()"),
    ],
    "Targets, weights and parameters": [
        ("Dates as targets", 'Regressor().fit(X, np.full(300, np.datetime64("2020-01-01", "s")))'),
        ("Strings for a regressor", 'Regressor().fit(X, np.where(c, "yes", "no"))'),
        ("Negative weights of samples", "Regressor().fit(X, y, sample_weight=np.full(300, -1.0))"),
        ("Negative weights of classes", "Classifier(class_weight={0: -1.0, 1: 1.0}).fit(X, c)"),
        ("A device that is not there", 'Regressor(device="cuda:99").fit(X, y)'),
        ("Scores by name in callbacks", 'Classifier(callbacks=[EpochScoring("accuracy")]).fit(X, c)'),
        (
            "A score that is not defined",
            'modality_drop(classifier, {k: v[c == 1] for k, v in X.items()}, c[c == 1], scoring="roc_auc")',
        ),
    ],
    "In searches": [
        (
            "Validation samples that a search has cut",
            'GridSearchCV(Regressor(), {"lam": [0]}).fit(ModalityDict(X), y, X_val=ModalityDict(X), y_val=y)',
        ),
        (
            "Samples without labels that a search has cut",
            'GridSearchCV(Regressor(), {"lam": [1]}).fit(ModalityDict(X), y, X_unlabeled=ModalityDict(X))',
        ),
        (
            "Validation targets that a search has cut",
            'GridSearchCV(Regressor(), {"lam": [0]}).fit(ModalityDict(X), y, X_val=X, y_val=y)',
        ),
    ],
}


def names():
    """What the code of the cases may use."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(300, 1))
    X = {"audio": shared + rng.normal(size=(300, 3)), "text": shared + rng.normal(size=(300, 2))}
    X["text"][7] = [4.0, 0.0]
    rows = [f"s{i}" for i in range(300)]
    columns = {"audio": ["pitch", "energy", "rate"], "text": ["joy", "fear"]}
    frames = {name: pd.DataFrame(values, index=rows, columns=columns[name]) for name, values in X.items()}
    y, c = shared.ravel(), (shared.ravel() > 0).astype(int)
    quick = {"n_estimators": 1, "max_epochs": 1, "lam": 0, "random_state": 0, "device": "cpu"}

    def gap(values):
        values = values.copy()
        values[4] = np.nan
        return values

    return {
        **{"X": X, "frames": frames, "table": pd.concat(frames.values(), axis=1), "y": y, "c": c, "gap": gap},
        "labelled_y": pd.Series(y, index=rows),
        "two": pd.DataFrame({"valence": y, "arousal": -y}),
        "steps": rng.normal(size=(300, 4, 2)),
        "tables": [frames["text"][["joy", "fear"][:: 1 - 2 * (i == 5)]] for i in range(300)],
        "Regressor": lambda **more: MDMFusionRegressor(**{**quick, **more}),
        "Classifier": lambda **more: MDMFusionClassifier(**{**quick, **more}),
        "model": MDMFusionRegressor(**quick).fit(frames, y),
        "classifier": MDMFusionClassifier(**quick).fit(X, c),
        **{"np": np, "pd": pd, "sparse": sparse, "GridSearchCV": GridSearchCV, "EpochScoring": EpochScoring},
        **{"DependencyEstimator": DependencyEstimator, "ModalityDict": ModalityDict, "modality_drop": modality_drop},
    }


def message_of(code, given):
    """Run code that is refused, and return the error as it is on every machine."""
    with warnings.catch_warnings(), pytest.raises((ValueError, TypeError)) as caught:
        warnings.simplefilter("ignore")
        eval(code, dict(given))
    kind, text = type(caught.value).__name__, str(caught.value)
    if "fits failed" in text:  # of a search, which quotes a traceback
        kind, text = re.findall(r"^(\w+Error): (.*)", text, flags=re.MULTILINE)[-1]
    for found, shown in [(r"(datetime64|timedelta64)\[\w+\]", r"\1"), (r"torch finds [^.]*", "torch finds cpu")]:
        text = re.sub(found, shown, text)
    return f"{kind}: {text}"


def page():
    """The page, from what is raised."""
    given, parts = names(), [HEAD]
    for section, cases in CASES.items():
        parts.append(f"{section}\n{'=' * len(section)}\n")
        for what, code in cases:
            parts.append(f"**{what}**::\n\n    {code}\n\n.. code-block:: text\n")
            parts.append("\n".join(f"    {line}" for line in wrapped(message_of(code, given))) + "\n")
    return "\n".join(parts)


def wrapped(text, width=110):
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def test_page__when_x_is_refused__says_what_is_raised():
    assert PAGE.read_text(encoding="utf-8") == page(), f"write it anew: python {Path(__file__).name}"


def test_messages__name_a_remedy():
    """Every message says more than what is wrong: it has a second sentence, or a clause on what to do."""
    given = names()
    short = [
        what
        for cases in CASES.values()
        for what, code in cases
        if not re.search(r"[.;:] |, or |must|should|expected", message_of(code, given).partition(": ")[2])
    ]
    assert not short


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit()
