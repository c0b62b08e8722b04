"""Use one process for long: memory stays flat, and equal work gives equal bits.

Prints a table, and exits with 1 if a part grew by more than its bound or found other numbers than at first.
"""

import argparse
import gc
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion

# Of each part: what comes first fills caches, and is not looked at.
WARM_UP = 0.2
SAMPLES_OF_MEMORY = 100


def resident_mb() -> float:
    """Memory of this process now, or where there is no /proc, the most it ever had."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except FileNotFoundError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


@dataclass
class Part:
    """What is watched in one part of the run."""

    name: str
    n: int
    memory: list = field(default_factory=list)
    different: int = 0
    seconds: float = 0.0

    def steps(self) -> Iterator[int]:
        """Count to n, and look at the memory now and then."""
        start, every = time.perf_counter(), max(1, self.n // SAMPLES_OF_MEMORY)
        for i in range(self.n):
            yield i
            if i % every == every - 1:
                gc.collect()
                self.memory.append((i, resident_mb()))
        self.seconds = time.perf_counter() - start

    @property
    def growth_mb(self) -> float:
        """By how much a line through the memory after the warm-up rises until the end."""
        at, used = np.array([each for each in self.memory if each[0] >= WARM_UP * self.n] or [(0, 0.0)]).T
        if len(at) < 3:
            return 0.0
        return float(np.polyfit(at, used, 1)[0] * (at[-1] - at[0]))


def make_data(n: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two modalities that share a factor, one of them with gaps, and three classes."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 1))
    X = {"audio": latent + rng.normal(size=(n, 4)), "text": latent + rng.normal(size=(n, 3))}
    X["text"][::7] = np.nan
    return X, np.digitize(latent.ravel(), [-0.5, 0.5])


def make_model(kind: type, seed: int = 0) -> MDMFusionRegressor | MDMFusionClassifier:
    """A small committee with everything beside it."""
    return kind(
        encoder=MLPEncoder(hidden_dims=(8,), out_dim=4),
        fusion=ConcatFusion(hidden_dims=(8,)),
        n_estimators=2,
        critic_hidden_dims=(8,),
        max_epochs=2,
        random_state=seed,
        device="cpu",
    )


def soak_fits(part: Part) -> None:
    """Fit regressors and classifiers in turn; each kind predicts what it did at first."""
    X, y = make_data(60)
    first: dict[type, bytes] = {}
    for i in part.steps():
        kind = (MDMFusionRegressor, MDMFusionClassifier)[i % 2]
        model = make_model(kind).fit(X, y)
        found = model.transform(X).tobytes() + model.predict(X).tobytes()
        part.different += first.setdefault(kind, found) != found


def soak_predictions(part: Part) -> None:
    """Predict, and now and then report dependency and make a round trip through pickle."""
    X, y = make_data(60)
    model = make_model(MDMFusionClassifier).fit(X, y)
    new = make_data(20, seed=1)[0]

    def dependency() -> np.ndarray:
        return model.pointwise_dependency(new)

    expected, dependent = model.predict_proba(new).tobytes(), dependency().tobytes()
    for i in part.steps():
        part.different += model.predict_proba(new).tobytes() != expected
        if i % 50 == 0:
            part.different += dependency().tobytes() != dependent
            model = pickle.loads(pickle.dumps(model))


def soak_stream(part: Part) -> None:
    """Two streams of the same chunks, side by side, end in the same bits."""
    models = [make_model(MDMFusionRegressor), make_model(MDMFusionRegressor)]
    for i in part.steps():
        X, y = make_data(32, seed=i // 2)
        models[i % 2].partial_fit(X, y)
    X = make_data(20, seed=1)[0]
    part.different += models[0].predict(X).tobytes() != models[1].predict(X).tobytes() if part.n % 2 == 0 else 0


def soak_threads(part: Part, n_threads: int) -> None:
    """Predict from many threads at a time, with one model."""
    X, y = make_data(60)
    model = make_model(MDMFusionRegressor).fit(X, y)
    new = [make_data(5, seed=seed)[0] for seed in range(n_threads)]
    expected = [model.predict(each).tobytes() for each in new]
    at_a_time = 100  # between two looks at the memory

    def predict(thread: int) -> int:
        return sum(model.predict(new[thread]).tobytes() != expected[thread] for _ in range(at_a_time))

    rounds = Part(part.name, max(1, part.n // at_a_time))
    with ThreadPoolExecutor(n_threads) as threads:
        for _ in rounds.steps():
            part.different += sum(threads.map(predict, range(n_threads)))
    part.n, part.memory, part.seconds = rounds.n, rounds.memory, rounds.seconds


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=500)
    parser.add_argument("--predictions", type=int, default=5000)
    parser.add_argument("--partial-fits", type=int, default=600)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--predictions-per-thread", type=int, default=10_000)
    parser.add_argument("--max-growth", type=float, default=20.0, help="MB that a part may grow by after its warm-up")
    args = parser.parse_args(arguments)

    in_threads = f"predict in {args.threads} threads, hundreds"
    soaks: list[tuple[Part, Callable[[Part], None]]] = [
        (Part("fit", args.fits), soak_fits),
        (Part("predict_proba", args.predictions), soak_predictions),
        (Part("partial_fit", args.partial_fits), soak_stream),
        (Part(in_threads, args.predictions_per_thread), lambda part: soak_threads(part, args.threads)),
    ]
    print(f"{'part':32} {'n':>6} {'seconds':>8} {'MB at end':>10} {'growth, MB':>11} {'different':>10}")
    well = True
    for part, soak in soaks:
        soak(part)
        fine = part.growth_mb <= args.max_growth and not part.different
        well &= fine
        numbers = f"{part.n:6} {part.seconds:8.1f} {resident_mb():10.0f} {part.growth_mb:11.1f} {part.different:10}"
        print(f"{part.name:32} {numbers}{'' if fine else '  <- FAILED'}", flush=True)
    print("flat, and equal to the bit" if well else f"more than {args.max_growth} MB, or other numbers")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
