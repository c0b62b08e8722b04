"""Texts, word lists and token ids, read into one array of tokens that is masked and indexed like any other modality."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from ...inputs._containers import as_samples, is_text
from ...inputs._observed import Observed
from ...inputs._padding import ends
from ...inputs._schema import ModalitySchema
from ._backbone import MAX_POSITIONS
from ._loading import files_of_tokenizer, tokenizer_of_files

# Columns of the array that a text becomes, one row per token. Single precision holds such integers exactly.
TOKEN, WORD, TYPE = range(3)
N_COLUMNS = 3
# Number of the word that special tokens belong to.
NO_WORD = -1


class TextSchema(ModalitySchema):
    """Reads one modality as texts, and the others as the numbers that they are.

    A text becomes an array (n_tokens, 3): token id, number of its word, token type. NaN marks what is not there, as in
    every modality, so that texts are padded, cut into batches and dropped like any sequence. Without a tokenizer only
    token ids are read, which ``pad_id`` pads; texts of more than ``max_length`` tokens are cut, with a warning or not.
    """

    def __init__(
        self,
        modality: Hashable,
        tokenizer: Any,
        *,
        vocab_size: int,
        pad_id: int | None,
        max_length: int | None,
        warn_cut: bool,
        n_types: int | None = None,
    ) -> None:
        self.modality = modality
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.n_types = n_types
        self.pad_id = pad_id
        self.max_length = max_length
        self.warn_cut = warn_cut
        self.unscaled = frozenset([modality])
        self.special_types: dict[int, int] = {}
        if tokenizer is not None:
            # What a text without words is made of: the special tokens, with their types.
            empty = tokenizer("")
            types = empty.get("token_type_ids", [0] * len(empty["input_ids"]))
            self.special_types = dict(zip(empty["input_ids"], types, strict=True))

    def _to_save(self) -> dict[str, Any]:
        """What a file of :mod:`...persistence` keeps: the files of the tokenizer, not the objects of its library."""
        return {**vars(self), "tokenizer": None if self.tokenizer is None else files_of_tokenizer(self.tokenizer)}

    def _loaded(self, place: Any) -> None:
        if self.tokenizer is not None:
            self.tokenizer = tokenizer_of_files(self.tokenizer)

    def fit_read(self, estimator: Any, X: Any, *args: Any, **kwargs: Any) -> Observed:
        observed = super().fit_read(estimator, X, *args, **kwargs)
        estimator.n_features_per_modality_[self.modality] = 1  # a text counts as one feature
        estimator.n_features_in_ -= N_COLUMNS - 1
        return observed

    def _validate_flat(self, estimator: Any, X: Any, **kwargs: Any) -> Any:
        raise ValueError(
            f"X is a {type(X).__name__} without named modalities, but the fusion reads the texts of modality "
            f"{self.modality!r}. Pass a dict, a ModalityDict or a (modality, feature) frame."
        )

    def _read_mapping(self, owner: str, raw: Mapping[Hashable, Any]) -> dict[Hashable, np.ndarray]:
        if raw.get(self.modality) is None:
            if hasattr(self, "names"):  # a later X may lack the texts
                return super()._read_mapping(owner, raw)
            raise ValueError(
                f"the fusion reads the texts of modality {self.modality!r}, but X has {list(raw)}. Name the modality "
                "that holds them: MAGFusion(text=...)."
            )
        tokens, n_words = self.encode(raw[self.modality])
        arrays = super()._read_mapping(owner, {**raw, self.modality: tokens})
        for name, array in arrays.items():
            if array.ndim == 3 and name != self.modality:
                self._check_aligned(name, array, tokens, n_words)
        return arrays

    def _check_aligned(self, name: Hashable, array: np.ndarray, tokens: np.ndarray, n_words: np.ndarray) -> None:
        """Reject steps beyond the words of a text: the sequence is then not aligned with the words.

        After the fit, a modality may have been permuted to find out what it is worth: steps beyond the words are then
        left unread, as long as some pairing of these texts and sequences would be aligned.
        """
        n_steps = ends(~np.isnan(array).all(axis=2))
        most = np.where(np.isnan(tokens[:, 0, 0]), array.shape[1], n_words)
        late = n_steps > most
        if late.any() and not (hasattr(self, "names") and (np.sort(n_steps) <= np.sort(most)).all()):
            i = int(np.argmax(late))
            raise ValueError(
                f"modality {name!r} is not aligned with the words of {self.modality!r}: sample {i} has {n_steps[i]} "
                f"steps and {n_words[i]} words ({int(late.sum())} of {len(late)} samples have more steps than words). "
                "Step t must belong to word t: pass lists of words if blanks do not separate them, or one vector per "
                "sample, (n_samples, n_features)."
            )

    def encode(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens (n_samples, n_tokens, 3), NaN where there is none, and the number of words of each sample."""
        if isinstance(texts, pd.DataFrame):
            if texts.shape[1] != 1:
                raise ValueError(
                    f"modality {self.modality!r} is a data frame of {texts.shape[1]} columns; texts need one column."
                )
            texts = texts.iloc[:, 0]
        texts = as_samples(texts)
        if is_text(texts) or (self.tokenizer is not None and _are_empty_lists(texts)):
            tokens, n_words = self._tokenize(list(texts))
        else:
            tokens, n_words = self._read_ids(texts)
        for i, row in enumerate(tokens):
            if row is not None and len(row) == 0:
                raise ValueError(
                    f"modality {self.modality!r}, sample {i} has no token. Pass None where there is no text."
                )
        longest = max((len(row) for row in tokens if row is not None), default=1)
        padded = np.full((len(tokens), longest, N_COLUMNS), np.nan, dtype=np.float32)
        for out, row in zip(padded, tokens, strict=True):
            if row is not None:
                out[: len(row)] = row
        return padded, np.asarray(n_words)

    def _tokenize(self, texts: Sequence[Any]) -> tuple[list[np.ndarray | None], list[int]]:
        if self.tokenizer is None:
            raise ValueError(
                f"modality {self.modality!r} holds texts, but there is no tokenizer for them. Pass "
                "MAGFusion(tokenizer=...), a name, a directory or a transformers tokenizer, or token ids."
            )
        strings, ends = [], []
        for i, text in enumerate(texts):
            if _is_missing(text):
                continue
            if isinstance(text, str):
                strings.append(self._checked_string(i, text))
                ends.append([found.end() for found in re.finditer(r"\S+", text)])
                continue
            words = list(text) if isinstance(text, (list, tuple, np.ndarray)) else [text]
            odd = [word for word in words if not isinstance(word, str)]
            if odd:
                raise ValueError(
                    f"modality {self.modality!r}, sample {i} holds {odd[0]!r} ({type(odd[0]).__name__}) among its "
                    "words; expected a string, a list of strings, or None where there is no text."
                )
            strings.append(self._checked_string(i, " ".join(words)))
            ends.append((np.cumsum([len(word) + 1 for word in words], dtype=int) - 1).tolist())
        encoded = self._encodings(strings)
        tokens: list[np.ndarray | None] = []
        n_words: list[int] = []
        found = iter(zip(encoded, ends, strict=True))
        for text in texts:
            if _is_missing(text):
                tokens.append(None)
                n_words.append(0)
                continue
            encoding, words_end = next(found)
            start = np.asarray([span[0] for span in encoding.offsets], dtype=int)
            # A token belongs to the first word that ends after it begins: some begin at the blank before their word.
            word = np.searchsorted(words_end, start, side="right")
            special = np.asarray(encoding.special_tokens_mask, dtype=bool) | (word == len(words_end))
            self._check_known(encoding.ids, self.vocab_size, "token id")
            self._check_known(encoding.type_ids, self.n_types, "token type")
            tokens.append(np.column_stack([encoding.ids, np.where(special, NO_WORD, word), encoding.type_ids]))
            n_words.append(len(words_end))
        return tokens, n_words

    @staticmethod
    def _check_known(found: list[int], n: int | None, what: str) -> None:
        if n is not None and max(found, default=0) >= n:
            raise ValueError(
                f"the tokenizer gives {what} {max(found)}, but the backbone knows those below {n} only. Check that "
                "they belong together."
            )

    def _checked_string(self, i: int, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"modality {self.modality!r}, sample {i} holds {text[error.start]!r}, half of a surrogate pair, which "
                'is no character. Read the text with its true encoding, or replace it: text.encode("utf-8", "replace").'
                'decode("utf-8").'
            ) from error
        return text

    def _encodings(self, strings: list[str]) -> Sequence[Any]:
        if not strings:
            return []
        encoded = self.tokenizer(
            strings,
            truncation=self.max_length is not None,
            max_length=self.max_length,
            return_offsets_mapping=True,
            verbose=False,  # no word about lengths that are dealt with here
        ).encodings
        n_cut = sum(bool(encoding.overflowing) for encoding in encoded)
        if n_cut and self.warn_cut:
            warnings.warn(
                f"modality {self.modality!r}: {n_cut} of {len(strings)} texts are longer than the {self.max_length} "
                "tokens that the model reads, and are cut. MAGFusion(max_length=...) sets another limit.",
                UserWarning,
                stacklevel=2,
            )
        return encoded

    def _read_ids(self, rows: Any) -> tuple[list[np.ndarray | None], list[int]]:
        """Token ids as a tokenizer returns them; every token that is not special is a word."""
        tokens: list[np.ndarray | None] = []
        n_words: list[int] = []
        if len(np.shape(rows)) not in (1, 2):
            raise ValueError(
                f"modality {self.modality!r} has shape {np.shape(rows)}; expected texts, lists of words, or token ids "
                "(n_samples, n_tokens)."
            )
        for i, row in enumerate(np.asarray(rows)):
            ids = None if _is_missing(row) else self._checked_ids(i, row)
            if ids is None:
                tokens.append(None)
                n_words.append(0)
                continue
            special = np.isin(ids, list(self.special_types))
            types = [self.special_types.get(token, 0) for token in ids.tolist()]
            word = np.where(special, NO_WORD, np.cumsum(~special) - 1)
            tokens.append(np.column_stack([ids, word, types]))
            n_words.append(int((~special).sum()))
        return tokens, n_words

    def _checked_ids(self, i: int, row: Any) -> np.ndarray | None:
        """Return the ids of a sample without padding; None if all are NaN."""
        label = f"modality {self.modality!r}, sample {i}"
        try:
            ids = np.asarray(row, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{label} is neither a text nor a list of token ids: {error}") from error
        if ids.ndim != 1:
            raise ValueError(f"{label} has shape {ids.shape}; expected a text, or a list of token ids.")
        if ids.size and np.isnan(ids).all():
            return None
        ids = ids[~np.isnan(ids)]
        if self.pad_id is not None:
            ids = ids[ids != self.pad_id]
        wrong = (ids != np.floor(ids)) | (ids < 0) | (ids >= self.vocab_size)
        if wrong.any():
            raise ValueError(
                f"{label} holds {ids[wrong][0]:g}, which is not a token id: expected integers from 0 to "
                f"{self.vocab_size - 1}. Word embeddings are read by MAGFusion(backbone=None)."
            )
        if self.max_length is not None and len(ids) > self.max_length:
            raise ValueError(f"{label} has {len(ids)} tokens, but at most {self.max_length} are read. Cut it.")
        return ids.astype(int)


def check_max_length(max_length: Any, tokenizer: Any, limit: int | None) -> None:
    """Refuse a most number of tokens that leaves no room for a word, or is beyond the limit of the backbone."""
    # Special tokens are kept when a text is cut, and a text of nothing else says nothing.
    least = 1 if tokenizer is None else tokenizer.num_special_tokens_to_add() + 1
    if limit is not None and limit < least:
        raise ValueError(
            f"backbone and tokenizer read {limit} tokens at most, special ones included, which leaves no room for a "
            "word. Look at model_max_length in tokenizer_config.json and max_position_embeddings in config.json."
        )
    if max_length is None:
        return
    whole = isinstance(max_length, Integral) and not isinstance(max_length, bool)
    if not whole or not least <= max_length <= (MAX_POSITIONS if limit is None else limit):
        raise ValueError(
            f"MAGFusion has an integer max_length from {least} to "
            f"{'any number' if limit is None else f'the {limit} tokens of this backbone'}, got {max_length!r}."
        )


def _are_empty_lists(rows: Any) -> bool:
    """Whether there are lists of words or of ids, and none of them holds anything."""
    return all(_is_missing(row) or (np.ndim(row) == 1 and len(row) == 0) for row in rows)


def _is_missing(text: Any) -> bool:
    return text is None or (np.ndim(text) == 0 and bool(pd.isna(text)))
