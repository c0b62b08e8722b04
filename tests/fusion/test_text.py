"""Texts in every form become the same tokens, which keep to their words and to their samples."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sklearn_mdm import MDMFusionRegressor, ModalityDict
from sklearn_mdm.fusion.mag._text import NO_WORD, TOKEN, TYPE, WORD, TextSchema

pytest.importorskip("transformers")

from .transformer_models import make_tokenizer

nan = np.nan


def schema(kind="bert", tokenizer=True, **options):
    tokenizer = make_tokenizer(kind) if tokenizer else None
    options = {"vocab_size": 19, "pad_id": 0, "max_length": None, "warn_cut": True, **options}
    return TextSchema("text", tokenizer, **options)


class Owner:
    """Stands for an estimator."""


def tokens_of(texts, **options):
    tokens, n_words = schema(**options).encode(texts)
    return [row[~np.isnan(row[:, 0])].astype(int) for row in tokens], n_words.tolist()


def test_strings__word_lists_and_token_ids__become_the_same_tokens():
    words = [["a", "good", "film"], ["unbelievably", "bad"], None]
    tokenizer = make_tokenizer()
    expected, n_words = tokens_of([None if w is None else " ".join(w) for w in words])
    for texts in (words, np.array([None if w is None else " ".join(w) for w in words], dtype=object)):
        found, n = tokens_of(texts)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert n == n_words == [3, 2, 0]
    ids = [tokenizer("a good film")["input_ids"], tokenizer("unbelievably bad")["input_ids"], None]
    found, _ = tokens_of(ids)
    assert [row[:, TOKEN].tolist() for row in found] == [row[:, TOKEN].tolist() for row in expected]
    assert expected[0][:, TOKEN].tolist() == ids[0]


def test_tokens__belong_to_the_words_that_blanks_separate():
    (row,), n_words = tokens_of(["  the plot,  is unbelievably\tboring "])
    tokenizer = make_tokenizer()
    pieces = tokenizer.convert_ids_to_tokens(row[:, TOKEN].tolist())
    assert pieces == ["[CLS]", "the", "plot", ",", "is", "un", "##believ", "##ab", "##ly", "boring", "[SEP]"]
    assert row[:, WORD].tolist() == [NO_WORD, 0, 1, 1, 2, 3, 3, 3, 3, 4, NO_WORD]
    assert n_words == [5]


def test_words_with_blanks_inside__are_one_word():
    (row,), n_words = tokens_of([["a", "new film", "is bad"]])
    assert row[1:-1, WORD].tolist() == [0, 1, 1, 2, 2]
    assert n_words == [3]


def test_xlnet__special_tokens_come_last_and_have_their_type():
    (row, other), _ = tokens_of(["a film", "a good film"], kind="xlnet")
    assert row[:, WORD].tolist() == [0, 1, NO_WORD, NO_WORD]
    assert row[:, TYPE].tolist() == [0, 0, 0, 2]
    ids = make_tokenizer("xlnet")(["a film", "a good film"], padding=True)["input_ids"]
    assert ids[0][0] == 0  # padded on the left
    found, _ = tokens_of(ids, kind="xlnet")
    assert np.array_equal(found[0], row) and np.array_equal(found[1], other)


def test_ids__without_a_tokenizer__are_words_up_to_padding():
    (row, other), n_words = tokens_of(np.array([[7, 8, 9], [5, nan, nan]]), tokenizer=False)
    assert row[:, TOKEN].tolist() == [7, 8, 9] and row[:, WORD].tolist() == [0, 1, 2]
    assert other[:, TOKEN].tolist() == [5]
    assert n_words == [3, 1]
    with pytest.raises(ValueError, match=r"holds texts, but there is no tokenizer.*tokenizer=\.\.\."):
        tokens_of(["a film"], tokenizer=False)


@pytest.mark.parametrize("nothing", [None, nan, pd.NA, float("nan")])
def test_missing_texts__are_nan(nothing):
    tokens, n_words = schema().encode(["a film", nothing])
    assert np.isnan(tokens[1]).all() and not np.isnan(tokens[0]).any()
    assert n_words.tolist() == [2, 0]


def test_an_empty_text__is_observed_and_has_no_words():
    (row,), n_words = tokens_of([""])
    assert row[:, WORD].tolist() == [NO_WORD, NO_WORD]
    assert n_words == [0]


def test_an_empty_word_list__is_an_empty_text__alone_too():
    expected, _ = tokens_of([""])
    for texts in ([[]], [[], []], [[], None], [[], ["bad"]], np.empty((1, 0)), pd.Series([[]])):
        found, n_words = tokens_of(texts)
        assert np.array_equal(found[0], expected[0])
        assert n_words[0] == 0
    with pytest.raises(ValueError, match="sample 0 has no token"):
        tokens_of([[]], tokenizer=False)


def test_long_texts__are_cut_with_a_warning_unless_asked_for():
    texts = ["a good film", "a film"]
    with pytest.warns(UserWarning, match=r"'text': 1 of 2 texts are longer than the 4 tokens .*max_length=\.\.\."):
        found, n_words = tokens_of(texts, max_length=4)
    assert [row[:, WORD].tolist() for row in found] == [[-1, 0, 1, -1], [-1, 0, 1, -1]]
    assert n_words == [3, 2]
    assert len(tokens_of(texts, max_length=4, warn_cut=False)[0][0]) == 4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([["a", 3]], r"'text', sample 0 holds 3 \(int\) among its words"),
        (["a film", "\ud800x"], r"'text', sample 1 holds '\\ud800', half of a surrogate pair"),
        ([["a"], ["b", "x\udfff"]], r"'text', sample 1 holds '\\udfff', half of a surrogate pair"),
        (["a film", 3.5], r"'text', sample 1 holds 3.5 \(float\) among its words"),
        ([[5, 99]], r"'text', sample 0 holds 99, which is not a token id: expected integers from 0 to 18"),
        ([[5.5, 6]], r"sample 0 holds 5.5, which is not a token id"),
        ([[5, 6], []], r"sample 1 has no token\. Pass None"),
        ([[0, 0], [5, 6]], r"sample 0 has no token"),
        (np.zeros((2, 3, 4)), r"'text' has shape \(2, 3, 4\); expected texts"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"data frame of 2 columns; texts need one column"),
    ],
)
def test_what_is_no_text__error_names_modality_and_sample(texts, message):
    with pytest.raises(ValueError, match=message):
        schema().encode(texts)


def test_ids__longer_than_the_model_reads__error():
    with pytest.raises(ValueError, match="sample 0 has 3 tokens, but at most 2 are read"):
        schema(max_length=2).encode([[5, 6, 7]])


def test_steps_beyond_the_words__error_names_sample_and_counts():
    audio = [np.ones((2, 3)), np.ones((3, 3)), np.ones((9, 3))]
    texts = ["a film", "a film", None]
    with pytest.raises(ValueError, match=r"'audio' is not aligned with the words of 'text': sample 1 has 3 steps"):
        schema().fit_read(Owner(), {"text": texts, "audio": audio}, None)
    audio[1] = audio[1][:2]
    read = schema().fit_read(Owner(), {"text": texts, "audio": audio, "visual": np.ones((3, 4))}, None)
    assert read.arrays["audio"].shape == (3, 9, 3)


def test_repaired_samples__may_have_more_steps_than_words_after_the_fit():
    texts, audio = ["a film", "bad", None], [np.ones((2, 3)), np.ones((1, 3)), np.ones((9, 3))]
    reader = schema()
    reader.fit_read(Owner(), {"text": texts, "audio": audio}, None)
    assert reader.read(Owner(), {"text": texts, "audio": audio[::-1]}).arrays["audio"].shape == (3, 9, 3)
    for steps in (audio[:1], audio[2:]):  # no other text has as many words
        with pytest.raises(ValueError, match=r"'audio' is not aligned .*sample 0 has [29] steps and 1 words"):
            reader.read(Owner(), {"text": ["bad"], "audio": steps})


def test_a_text__counts_as_one_feature():
    owner = Owner()
    schema().fit_read(owner, {"text": ["a film", "bad"], "audio": np.ones((2, 3))}, None)
    assert owner.n_features_in_ == 4
    assert owner.n_features_per_modality_ == {"audio": 3, "text": 1}


def test_later_data__may_lack_texts_or_all_else():
    reader, X = schema(), {"text": pd.Series(["a film", "bad"]), "audio": np.ones((2, 3))}
    reader.fit_read(Owner(), X, None)
    assert np.isnan(reader.read(Owner(), {"audio": X["audio"]}).arrays["text"]).all()
    assert np.isnan(reader.read(Owner(), {"audio": X["audio"], "text": [None, None]}).arrays["text"]).all()
    assert np.isnan(reader.read(Owner(), {"text": ["bad"]}).arrays["audio"]).all()
    frame = pd.DataFrame({"text": ["a film", "bad"]})
    np.testing.assert_array_equal(
        reader.read(Owner(), {"text": frame}).arrays["text"], reader.read(Owner(), X).arrays["text"]
    )


def test_no_texts_at_fit__error_names_modalities():
    with pytest.raises(ValueError, match=r"reads the texts of modality 'text', but X has \['audio', 'words'\]"):
        schema().fit_read(Owner(), {"audio": np.ones((2, 3)), "words": ["a", "b"]}, None)
    with pytest.raises(ValueError, match="without named modalities, but the fusion reads the texts of modality 'text'"):
        schema().fit_read(Owner(), np.ones((3, 2)), None)


@pytest.mark.parametrize("texts", [["a", None, "b b", "c"], [["a"], None, ["b", "b"], ["c"]], [[5], None, [6, 7], [8]]])
def test_texts__survive_selection_of_samples(texts):
    X = ModalityDict(text=texts, audio=np.arange(8.0).reshape(4, 2))
    train, test = train_test_split(X, random_state=0)
    for part in (train, test):
        for text, row in zip(part["text"], part["audio"], strict=True):
            assert text == texts[int(row[0]) // 2]


def test_texts__in_a_fusion_that_reads_numbers__error_names_both_remedies():
    with pytest.raises(ValueError, match=r"'text' holds text.*TfidfVectorizer.*MAGFusion\(text='text', backbone"):
        MDMFusionRegressor(n_estimators=1).fit({"text": ["a", "b"], "audio": np.ones((2, 2))}, [0, 1])
