"""States of texts that a function makes up, kept on disk as those of a transformer are."""

import numpy as np

from sklearn_mdm.fusion.mag._cache import FOLDER, cached_states

WIDTH = 5


def rows(n=20, seed=0):
    """Texts of 1 to 6 tokens, no two alike; some have the same length."""
    rng = np.random.default_rng(seed)
    return [
        np.column_stack([rng.integers(0, 2**20, 1 + i % 6), np.zeros(1 + i % 6)]).astype(np.int32) for i in range(n)
    ]


def compute(texts):
    return [np.sin(np.outer(text[:, 0], np.arange(1, WIDTH + 1))).astype(np.float32) for text in texts]


def nothing(texts):
    raise AssertionError("everything should have been on disk")


def states(folder, texts, how=compute):
    return cached_states(texts, how, WIDTH, folder if folder is None else str(folder), "f" * 64)


def filled(folder, texts):
    expected = states(folder, texts)
    return expected, sorted((folder / FOLDER).iterdir())


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
