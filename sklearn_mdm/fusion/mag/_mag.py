"""MAG: words displaced by what is seen and heard with them, in front of a transformer layer or of an encoder."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from torch import nn

from ...encoders._base import Encoder, EncoderChoice, Missing, Shapes
from ...encoders._modality_encoders import build_encoder
from ...inputs._schema import ModalitySchema
from .._aligned import check_aligned
from .._base import Fusion, FusionModule
from ._backbone import MAX_POSITIONS, Backbone, position_limit
from ._cache import states_folder
from ._gate import AdaptationGate
from ._gated_backbone import GatedBackbone
from ._gated_embeddings import GatedEmbeddings
from ._loading import load_model, load_outline, load_tokenizer
from ._text import TextSchema, check_max_length


@dataclass(kw_only=True, eq=False, repr=False)
class MAGFusion(Fusion):
    r"""Displace the words of a text by audio, video or other views of the same words (MAG-BERT, MAG-XLNet).

    A multimodal adaptation gate, between two layers of a pretrained transformer, adds to the state :math:`z_i` of
    word i

    .. math::

       h_i = \sum_m \mathrm{ReLU}(W^g_m [z_i; x_{m,i}] + b^g_m) \odot (W_m x_{m,i} + b_m), \qquad
       \alpha_i = \min\left(\frac{\beta \lVert z_i \rVert}{\lVert h_i \rVert + \epsilon}, 1\right), \qquad
       \bar z_i = \mathrm{dropout}(\mathrm{LayerNorm}(z_i + \alpha_i h_i))

    over the other modalities m. Without ``backbone`` the gate reads word embeddings (n_samples, n_words, n_features),
    and ``encoder`` summarises what comes out of it.

    The dependency term reads, for the text, the mean over its words of the states that enter the gate, and for every
    other modality the mean of :math:`W_m x_{m,i} + b_m` over its observed steps; both are zero for a modality that was
    not observed. The critic therefore runs the layers below the gate, which at ``layer=0`` are the embeddings alone,
    and never those above it.

    Parameters
    ----------
    text : str or int, default="text"
        The modality that holds the text.
    backbone : str, path, transformers configuration or model, default=None
        A directory that holds a transformer, a name on the Hugging Face hub such as "bert-base-uncased" or
        "xlnet-base-cased", a configuration (random weights) or a model (its weights are copied). Any encoder with one
        stack of layers will do: BERT, RoBERTa, DistilBERT, MiniLM, XLNet. The text is then given as strings, as lists
        of words or as token ids. Needs the package transformers.
    layer : int, default=0
        How many layers of the backbone come before the gate: 0 puts it after the embeddings, as MAG-BERT has it, 1
        after the first layer, as MAG-XLNet has it, and -1 after the last.
    beta : float, default=1.0
        Largest length of the displacement, in lengths of the word's state. At 0 the other modalities have no say.
    dropout : float, default=0.1
        Probability of zeroing a unit after the gate and in front of the prediction, during training.
    pooling : {"mean", "cls"}, default="mean"
        What summarises a text: the mean of its last states, or the state of the classification token, the first in
        BERT and the last in XLNet.
    tokenizer : str, path or transformers tokenizer, default=None
        The tokenizer; None takes that of the backbone.
    max_length : int, default=None
        Most tokens of a text; what is longer is cut. None takes what the backbone can read, and warns of texts that
        are cut.
    frozen_layers : int or "all", default=0
        How many layers of the backbone stay as they are, the embeddings with them; 0 trains all of it. Where all
        layers below the gate are frozen (``1 <= layer <= frozen_layers``, or "all"), their states are computed once per
        fit, without dropout, and kept in memory: n_samples x n_tokens x width numbers. (Not in models whose first layer
        does more than the others, such as DeBERTa with a convolution.)
    backbone_lr : float, default=2e-5
        Learning rate of the backbone; the estimator's ``lr`` is that of everything else.
    bf16 : bool, default=False
        Whether the backbone is trained with matrix products in bfloat16, on hardware that is faster then. Predictions
        are made in single precision all the same.
    memory : str, path or joblib.Memory, default=None
        Directory in which the states of frozen layers are kept, text by text, for other fits, folds and processes. Only
        used where they are computed once, which needs ``layer != 0``; a warning says so otherwise. Files have a
        checksum: what is damaged is computed again. Where nothing can be written (a full disk), a warning says so, and
        the result is the same. Whoever can write to the directory can change predictions: leave it to people you trust.

    Raises
    ------
    ImportError
        If there is a backbone and transformers is not installed.
    ValueError
        If there is no modality ``text``, or a backbone cannot be found, is damaged, needs code of its own, or has
        weights other than safetensors, or none.

    See Also
    --------
    sklearn_mdm.callbacks.WarmupLinearDecay : The schedule of learning rates that fine-tuning is done with.
    sklearn_mdm.callbacks.GradientAccumulation : Large batches in little memory.

    Notes
    -----
    A modality given step by step is aligned with the words: step t belongs to word t. Words are the items of a list, or
    what blanks separate in a string; all word pieces of a word read its step. A modality given as one vector per
    sample is repeated for every word. Token ids are words too, one each, but for the special tokens of the tokenizer.
    Without any tokenizer, as with a configuration as ``backbone``, nobody knows these, and they count as words: pass
    ``tokenizer=`` where a modality is aligned with the words. Special tokens, and words that have no step or a step of
    ``NaN``, have nothing.

    Two departures from [1]_: a modality that was not observed at a word adds nothing, where the published projections
    add their biases; and a word without any other modality, and every word at ``beta=0``, passes the gate unchanged,
    where the published gate normalises it and drops units. That includes special tokens. :math:`\epsilon` is 1e-6.

    A sample without text has a blank in the place of each word's state, zeros or with ``missing="token"`` a learned
    vector, and :math:`\alpha_i = 1`, for there is no text to measure the displacement by. It has as many words as
    steps, at most as many as the backbone has positions; steps beyond have no say.

    A network with a backbone is trained and applied in single precision, whatever the type of X: the last digits of a
    prediction depend on the rows that are predicted with it.

    Models are read from safetensors only, and code that comes with them is not run: neither modules beside the weights,
    nor kernels, adapters or templates that their configuration names. A name is looked up in the local
    cache first; an estimator that was pickled has its weights with it.

    References
    ----------
    .. [1] Rahman, Hasan, Lee, Zadeh, Mao, Morency, Hoque, "Integrating Multimodal Information in Large Pretrained
       Transformers", ACL 2020.

    Examples
    --------
    Word embeddings, with an acoustic vector for each word:

    >>> import numpy as np
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import MAGFusion
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(20, 6, 8)), "audio": rng.normal(size=(20, 6, 3))}
    >>> model = MDMFusionRegressor(fusion=MAGFusion(beta=0.5), max_epochs=2, random_state=0)
    >>> model.fit(X, X["text"].mean((1, 2))).predict(X).shape
    (20,)

    Texts, with a transformer in a directory:

    >>> fusion = MAGFusion(backbone="models/all-MiniLM-L6-v2", frozen_layers=3)
    >>> MDMFusionRegressor(fusion=fusion, max_epochs=3, batch_size=32).get_params()["fusion__frozen_layers"]
    3
    """

    text: Hashable = "text"
    backbone: Any = None
    layer: int = 0
    beta: float = 1.0
    dropout: float = 0.1
    pooling: Literal["mean", "cls"] = "mean"
    tokenizer: Any = None
    max_length: int | None = None
    frozen_layers: int | Literal["all"] = 0
    backbone_lr: float = 2e-5
    bf16: bool = False
    memory: Any = None

    @property
    def single_precision(self) -> bool:
        """Whether the network is to be trained and applied in single precision; a backbone's weights are no finer."""
        return self.backbone is not None

    @property
    def single_member(self) -> bool:
        """Whether ``n_estimators="auto"`` means one network; each member of a committee has a backbone of its own."""
        return self.backbone is not None

    def schema(self) -> ModalitySchema:
        """Return what reads X."""
        if self.backbone is None:
            return ModalitySchema()
        outline = load_outline(self.backbone)
        config = outline.config
        tokenizer = load_tokenizer(self.backbone, self.tokenizer)
        limits = [position_limit(outline), getattr(tokenizer, "model_max_length", None)]
        limit = min((int(limit) for limit in limits if limit is not None and 0 < limit < MAX_POSITIONS), default=None)
        check_max_length(self.max_length, tokenizer, limit)
        return TextSchema(
            self.text,
            tokenizer,
            vocab_size=config.vocab_size,
            n_types=getattr(config, "type_vocab_size", None),
            pad_id=getattr(config, "pad_token_id", None) if tokenizer is None else tokenizer.pad_token_id,
            max_length=limit if self.max_length is None else self.max_length,
            warn_cut=self.max_length is None,
        )

    def param_groups(self) -> list[tuple[str, dict[str, Any]]]:
        """Return patterns of parameters that have a learning rate of their own, with that rate."""
        if self.backbone is None:
            return []
        return [("backbone.*", {"lr": self.backbone_lr, "own_lr": self.backbone_lr})]

    def build(
        self,
        shapes: Shapes,
        n_outputs: int,
        *,
        encoder: EncoderChoice = "auto",
        missing: Missing = "mean",
        names: Mapping[str, Hashable] | None = None,
    ) -> FusionModule:
        """Return the fusion module.

        Parameters
        ----------
        shapes : mapping of str to tuple
            Shape of one sample of each modality: (n_features,) or (n_steps, n_features). With a backbone the text is
            (n_tokens, 3): token id, number of the word (-1 for special tokens), token type.
        n_outputs : int
            Number of targets or classes.
        encoder : str, Encoder, or mapping of the text to either, default="auto"
            What summarises the words after the gate, without a backbone; "auto" is "transformer". The other modalities
            take none.
        missing : {"mean", "token", "skip"}, default="mean"
            Replacement for a word of a sample without text: zeros or, with "token", a learned vector. Other
            modalities add nothing where they are missing.
        names : mapping of str to hashable, default=None
            The names that modalities have in X, if other than the keys of ``shapes``.

        Returns
        -------
        module : FusionModule

        Raises
        ------
        ValueError
            If there is no text among the modalities, or a parameter is out of its range.
        """
        self._check_numbers()
        names = {name: name for name in shapes} if names is None else names
        found = [name for name in shapes if names[name] == self.text]
        if not found:
            raise ValueError(
                f"MAGFusion reads modality {self.text!r} as text, but X has {list(names.values())}. Name the modality "
                "that holds the words: MAGFusion(text=...)."
            )
        text, tokens = found[0], missing == "token"
        sides = {name: shape[-1] for name, shape in shapes.items() if name != text}
        if self.backbone is None:
            if self.memory is not None:
                warnings.warn("MAGFusion(memory=...) keeps nothing without a backbone.", UserWarning, stacklevel=2)
            # Sequences have the steps of the text; vectors are repeated.
            sequences = {name: shape for name, shape in shapes.items() if len(shape) == 2}
            check_aligned("MAGFusion", sequences | {text: shapes[text]}, "auto", missing)
            part = _encoder_of(encoder, text)
            gate = AdaptationGate(shapes[text][-1], sides, self.beta, self.dropout)
            shape = (1, *shapes[text]) if len(shapes[text]) == 1 else shapes[text]
            summary, width = build_encoder(part, text, shape)
            return GatedEmbeddings(list(shapes), text, gate, summary, nn.Linear(width, n_outputs), tokens)
        check_aligned("MAGFusion(backbone=...)", {}, encoder, missing)
        if self.pooling not in ("mean", "cls"):
            raise ValueError(f"MAGFusion has pooling 'mean' or 'cls', got pooling={self.pooling!r}.")
        backbone = Backbone(load_model(self.backbone), self.layer, self.frozen_layers, self.bf16)
        if self.memory is not None and not backbone.precomputed:
            warnings.warn(
                f"MAGFusion(memory=...) keeps nothing: with layer={self.layer!r} and "
                f"frozen_layers={self.frozen_layers!r} no states are computed once. That needs layer != 0, and "
                'frozen_layers that include all layers below the gate, or "all", in a backbone whose upper layers can '
                "run without the lower ones.",
                UserWarning,
                stacklevel=2,
            )
        gate = AdaptationGate(backbone.hidden_size, sides, self.beta, self.dropout)
        head = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(backbone.hidden_size, n_outputs))
        last = self.pooling == "cls" and backbone.steps_first  # XLNet puts its classification token at the end
        position = {"mean": None, "cls": -1 if last else 0}[self.pooling]
        return GatedBackbone(list(shapes), text, gate, backbone, head, position, tokens, self.memory)

    def _check_numbers(self) -> None:
        if not _is_number(self.beta) or self.beta < 0:
            raise ValueError(f"MAGFusion needs a finite beta >= 0, got beta={self.beta!r}.")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"MAGFusion needs a dropout from 0 to less than 1, got dropout={self.dropout!r}.")
        if not _is_number(self.backbone_lr) or self.backbone_lr <= 0:
            raise ValueError(f"MAGFusion needs a finite backbone_lr > 0, got backbone_lr={self.backbone_lr!r}.")
        states_folder(self.memory)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _encoder_of(encoder: EncoderChoice, text: str) -> str | Encoder:
    if isinstance(encoder, Mapping):
        if set(encoder) - {text}:
            others = sorted(set(encoder) - {text})
            raise ValueError(
                "MAGFusion takes an encoder for its text alone, which reads the words after the gate; got encoders for "
                f"{', '.join(map(repr, others))} too."
            )
        encoder = encoder.get(text, "auto")
    return "transformer" if encoder == "auto" else encoder
