"""What a case of the fuzz suite is: one choice of everything, printed as what differs from the plainest."""

from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec

from hypothesis import strategies as st

from sklearn_mdm.fusion import FUSIONS
from sklearn_mdm.measures import MEASURES


def _often(plain, *others):
    """The plain choice about as often as all others together, and first: what a failure shrinks to."""
    return [plain] * max(len(others), 1) + list(others)


NUMBERS = [
    *("one", "one", "two outputs", "column", "gaps", "gaps in outputs", "one gap", "constant", "huge", "tiny", "list"),
    *("large", "denormal", "infinite", "one label", "classes"),
]
CLASSES = [
    "classes",
    "words",
    "bools",
    "three classes",
    "one class",
    "imbalanced",
    "words with gaps",
    "gaps",
    "one gap",
]
HAS_POLARS, HAS_TRANSFORMERS = (find_spec(name) is not None for name in ("polars", "transformers"))
# Choices of every field, the plainest first.
CHOICES = {
    "estimator": ["regressor", "regressor", "classifier", "classifier", "dependency", "transformer"]
    + ["mag"] * HAS_TRANSFORMERS,
    "seed": list(range(20)),
    "n": [24, *range(2, 10), 12, 19, 20, 21, 30, 50, 80],
    "widths": [(2, 3), (1, 1), (2,), (6, 1), (4, 2, 3), (1, 1, 1)],
    # 0: vectors. Otherwise the most steps of a sequence, of the first modality or of all.
    "steps": _often(0, 1, 5),
    "all_steps": [True, False],
    "form": [
        *("dict", "ModalityDict", "SliceDict", "lists", "MultiIndex frame", "flat frame", "flat array"),
        *("tensors", "frames", "one array", *["polars"] * HAS_POLARS),
    ],
    "dtype": _often("f8", "f4", "f2", "i4", "u1", "bool", ">f8", ">f4", "object", "mixed"),
    "gaps": _often("none", "cells", "rows", "modality", "end", "start", "column", "all", "most rows"),
    "scale": _often(
        *(
            "unit",
            "1e-200",
            "1e-163",
            "1e-40",
            "1e30",
            "1e200",
            "far cell",
            "farthest cell",
            "constant",
            "constant row",
        ),
        *("duplicates", "denormal", "columns apart", "offset", "infinite", "two values"),
    ),
    "target": NUMBERS,
    "weight": _often("none", "ones", "zeros among", "tiny", "huge", "apart", "negative", "one positive"),
    "groups": _often("none", "pairs", "one", "words", "each"),
    "fusion": [*FUSIONS],
    "measure": ["auto", *MEASURES],
    "lam": [0.03, 0.0, 1.0, (0.0, 0.1), "auto", 1e6],
    "members": [1, 2, 3],
    "others": [False, "auto", True],
    "scaling": ["standard", "auto", "robust", "rank", None],
    "missing": ["auto", "mean", "token", "skip", "critic"],
    "encoder": ["small", "auto", "lstm", "gru", "transformer"],
    "unlabelled": _often(False, True),
    "stopping": ["auto", True, False],
    "epochs": [1, 2, 3],
    # What is predicted: rows of the fit, or others.
    "at_predict": ["same", "new", "other order of keys", "absent modality", "one row", "gaps", "far"],
    # What is done beside fit and predict, each of which takes a fit of its own.
    "again": ["refit", "form", "partial_fit", "units", "warm_start", "fit_dependency", "inspection"],
    # What stops: rows that are passed, or those of a fold.
    "validation": _often("none", "new", "one row", "few", "gaps", "same", "X only"),
    "texts": ["plain", "odd", "long", "missing", "empty", "words"],
}
# Scales of which a power of two changes no digit.
EXACT = ["unit", "constant", "constant row", "duplicates", "offset", "two values", "1e-40", "1e30"]
# Systems that go step by step, and take no encoder.
STEPWISE = ("ef_lstm", "ef-lstm", "memory", "mfn", "multi_attention", "marn")


@dataclass(frozen=True, repr=False)
class Case:
    """One choice of each: see CHOICES."""

    estimator: str = "regressor"
    seed: int = 0
    n: int = 24
    widths: tuple = (2, 3)
    steps: int = 0
    all_steps: bool = True
    form: str = "dict"
    dtype: str = "f8"
    gaps: str = "none"
    scale: str = "unit"
    target: str = "one"
    weight: str = "none"
    groups: str = "none"
    fusion: str = "concat"
    measure: str = "auto"
    lam: object = 0.03
    members: int = 1
    others: object = False
    scaling: object = "standard"
    missing: str = "auto"
    encoder: str = "small"
    unlabelled: bool = False
    stopping: object = "auto"
    epochs: int = 1
    at_predict: str = "same"
    again: str = "refit"
    validation: str = "none"
    texts: str = "plain"

    def __repr__(self):
        """What differs from the plainest case, as it is typed in."""
        plain = {field.name: field.default for field in fields(self)}
        given = (f"{name}={value!r}" for name, value in asdict(self).items() if value != plain[name])
        return f"Case({', '.join(given)})"

    def _repr_pretty_(self, printer, cycle):
        """The same where hypothesis prints it."""
        printer.text(repr(self))


def one_case(pick):
    """Any case, by what chooses one of a list; most fit together, for an error says nothing of what comes after it."""
    # So many of four fields are plain; those that are not meet in all combinations.
    plain = pick([4, 3, 2, 1, 0])
    found = {}
    for name, choices in CHOICES.items():
        if name in ("estimator", "seed", "again") or not pick([True] * plain + [False] * (4 - plain)):
            found[name] = pick(choices)
    if pick([True] * 7 + [False]):
        if found["again"] == "form":
            found |= {"form": pick(CHOICES["form"][1:-1]), "at_predict": "same"}
        elif found["again"] == "units":
            found |= {"form": "dict", "dtype": "f8", "scaling": found.get("scaling") or "standard"}
            found["scale"] = pick(EXACT)
        if found["estimator"] == "classifier":
            found["target"] = pick(CLASSES)
        if found.get("fusion") in STEPWISE:
            found["encoder"] = "auto"
        elif found.get("encoder") in ("lstm", "gru", "transformer"):
            found |= {"steps": found.get("steps") or 4, "all_steps": True}
    return Case(**found)


@st.composite
def cases(draw):
    """Any case, as hypothesis draws and shrinks it."""
    return one_case(lambda choices: draw(st.sampled_from(choices)))
