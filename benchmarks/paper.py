"""The central table of the paper, on the data that are at hand: every fusion system, without the dependency term and
with each of its three measures, on CMU-MOSI.

Models are single networks without dropout, as in the paper, fitted and judged as in ``quality.py``, whose files, cells
and log of looks at test parts these are; what is done is kept (``--cache``), ``--minutes 0`` only reports. Systems that
read vectors are on ``mosi_bclstm`` beside committees, what the estimators are by default around a system. On
``mosi_text_audio`` (words beside a vector per utterance, which is repeated for every word where a system reads all
modalities step by step) are all systems, and ``lam`` is also chosen: of four values that with the least error on a
quarter of the development rows, mean over three seeds. A system with a pretrained transformer is for ``mag.py``.

    python benchmarks/paper.py --data DIR --jobs 16 --page docs/benchmarks/paper_figures.inc
    python benchmarks/paper.py --data DIR --only mmmo --systems concat misa --terms lam=0 kl --seeds 3

Figures: acc7: agreement after clipping to [-3, 3] and rounding; acc2: agreement in sign, samples with y = 0 left out;
binary: agreement on y > 3.5; mae; pearson; without_NAME: mae where that modality is absent from what is judged.
Marks are of paired t tests over seeds against ``lam=0``, at 5 %, not corrected.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
from pathlib import Path

import numpy as np
from _common import environment, processor, table, write_json
from _paper_models import MEASURES, STEP_BY_STEP, SYSTEMS, TERMS, VECTORS, WITHOUT, System, label_of
from _paper_page import LINEAR, write_page
from _quality_baselines import BASELINES
from _quality_cells import plan, results_of

TASKS = {"mosi_bclstm": VECTORS, **dict.fromkeys(("mosi_text_audio", "mmmo", "mmmo_trimodal"), SYSTEMS)}
# One network of "tensor" takes minutes of a core to fit, and a committee of "misa" did not end in nine.
COMMITTEES = {"mosi_bclstm": ("concat", "late", "low_rank")}
CHOSEN_ON = "mosi_text_audio"
SLOW = ("misa", "tensor", *STEP_BY_STEP)
LAMS = (0.03, 0.1, 0.3, 1.0)


def models_of(name, args):
    """The models of a task by label, the slow ones first, so that none is left over at the end."""
    # A system of sequences would see vectors as a single step.
    systems = sorted((system for system in args.systems if system in TASKS[name]), key=lambda s: s not in SLOW)
    committees = [system for system in COMMITTEES.get(name, ()) if system in systems]
    return {
        label_of(system, term, committee=committee): System(system, term, committee=committee)
        for committee, these in ((False, systems), (True, committees))
        for system in these
        for term in args.terms
    } | {LINEAR: BASELINES[LINEAR]}


def computed(name, models, args, *, seeds, validate=False):
    """{label: runs}, each a record with the figures."""
    args.validate = validate
    cells, _ = plan([name], models, seeds, folder=args.cache, data=args.data, validate=validate)
    found = results_of(cells, args, "paper")
    for runs in found.values():
        for record, rows in runs:
            record["figures"] |= {key: float(values.mean()) for key, values in rows.items() if key.startswith(WITHOUT)}
    return {label: [record for record, _ in runs] for (_, label), runs in found.items()}


def with_chosen_lam(args):
    """{label: (lam, runs)} of each system and measure, lam chosen on a part of the development rows."""
    measures = [term for term in args.terms if term in MEASURES]
    tried = {
        label_of(system, measure, lam=lam): System(system, measure, lam=lam)
        for system in args.systems
        for measure in measures
        for lam in LAMS
    }
    looks = computed(CHOSEN_ON, tried, args, seeds=3, validate=True)
    chosen = {}
    for system in args.systems:
        for measure in measures:
            labels = {lam: label_of(system, measure, lam=lam) for lam in LAMS}
            if all(label in looks for label in labels.values()):
                errors = {lam: mean_of(looks[label], "mae") for lam, label in labels.items()}
                chosen[label_of(system, measure)] = min(errors, key=errors.get)
    models = {}
    for label, lam in chosen.items():
        system, measure = label.split(", ")
        models[label] = System(system, measure, lam=lam)
    runs = computed(CHOSEN_ON, models, args, seeds=args.seeds) if models else {}
    return {label: {"lam": chosen[label], "runs": found} for label, found in runs.items()}


def mean_of(runs, figure):
    return float(np.mean([run["figures"][figure] for run in runs]))


def print_results(results):
    for name, by_label in results.items():
        shown = list(dict.fromkeys(figure for runs in by_label.values() for figure in runs[0]["figures"]))
        shown = [figure for figure in shown if figure not in ("error", "skill", "predict_seconds", "slowest_fit")]
        rows = []
        for label, runs in by_label.items():
            row = [label]
            for figure in shown:
                values = [run["figures"][figure] for run in runs if figure in run["figures"]]
                spread = f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                row.append(f"{np.mean(values):.3f}{spread}" if values else "-")
            rows.append(row)
        print(f"\n{name}: mean ± standard deviation over seeds")
        table(["model", *shown], rows)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=["mosi_bclstm", CHOSEN_ON], metavar="TASK")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="SYSTEM")
    parser.add_argument("--terms", nargs="+", choices=TERMS, default=TERMS, metavar="TERM")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each model (%(default)s)")
    parser.add_argument("--choose", action=argparse.BooleanOptionalAction, default=True, help="choose lam, too")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no fit of a part after so many")
    parser.add_argument("--cache", type=Path, help="folder for what is done (quality_cells, beside --out)")
    parser.add_argument("--out", type=Path, default=Path("results/paper.json"), help="JSON file (%(default)s)")
    parser.add_argument("--page", type=Path, help="write the tables of the documentation")
    args = parser.parse_args()
    args.cache = args.cache or args.out.parent / "quality_cells"
    return args


def main():
    args = parse_args()
    results = {name: computed(name, models_of(name, args), args, seeds=args.seeds) for name in args.only}
    chosen = with_chosen_lam(args) if args.choose and CHOSEN_ON in args.only else {}
    print_results(results)
    if chosen:
        with_lam = {f"{label}, lam={found['lam']}": found["runs"] for label, found in chosen.items()}
        print_results({"lam chosen": with_lam})
    content = {
        "environment": {**environment(), "processor": processor()},
        "seeds": args.seeds,
        "results": results,
        "chosen": chosen,
    }
    write_json(args.out, content)
    if args.page:
        write_page(args.page, content)


if __name__ == "__main__":
    main()
