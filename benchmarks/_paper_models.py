"""The models of the paper's table: every fusion system, without the dependency term and with each measure of it."""

from __future__ import annotations

import numpy as np
from _common import ONE_NETWORK
from _quality_models import Ours
from _quality_tasks import Part, keep

MEASURES = ("kl", "f", "wasserstein")
TERMS = ("lam=0", *MEASURES)
STEP_BY_STEP = ("ef_lstm", "memory", "multi_attention")
VECTORS = ("concat", "late", "tensor", "low_rank", "misa")
SYSTEMS = (*VECTORS, *STEP_BY_STEP)
WITHOUT = "without_"  # errors where a modality is absent from the rows that are judged


class System(Ours):
    """One network of the paper, or with ``committee=True`` what the estimator is by default around that system."""

    def __init__(self, system, term, *, committee=False, lam=None):
        lam = {"lam": 0} if term == "lam=0" else {"measure": term} | ({} if lam is None else {"lam": lam})
        plain = {"fusion__dropout": 0.0} if system in ("concat", "late") else {}
        one = {} if committee else {**ONE_NETWORK, "missing": "mean", **plain}
        super().__init__({"fusion": system, **one, **lam})
        self.step_by_step = system in STEP_BY_STEP
        self.traits = ("absent modalities", *(["repeated vectors"] if self.step_by_step else []))

    def run(self, task, fit, judge, seed):
        if self.step_by_step:
            fit, judge = repeat_vectors(fit), repeat_vectors(judge)
        return super().run(task, fit, judge, seed)

    def more(self, estimator, fit, judge):
        rows = {}
        for name in judge.X:
            values = estimator.predict(keep(judge.X, [other for other in judge.X if other != name]))
            rows[WITHOUT + name] = np.abs(judge.y - values)
        return {"rows": rows}


def repeat_vectors(part):
    """Vectors at every step that another modality has, for systems that read all modalities step by step."""
    observed = [~np.isnan(x).all(axis=2, keepdims=True) for x in part.X.values() if x.ndim == 3]
    if not observed:
        return part
    steps = np.logical_or.reduce(observed)
    X = {name: np.where(steps, x[:, None], np.float32(np.nan)) if x.ndim == 2 else x for name, x in part.X.items()}
    return Part(X, part.y, part.groups, part.rows)


def label_of(system, term, *, committee=False, lam=None):
    return ", ".join([system, term, *(["committee"] if committee else []), *([] if lam is None else [f"lam={lam}"])])
