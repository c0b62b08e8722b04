"""Small transformers and tokenizers, made here, for tests that need no weights of the world."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLNetConfig,
)

PIECES = ["un", "##believ", "##ab", "##ly", "a", "good", "bad", "film", "plot", "is", "the", ",", "boring", "new"]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
XLNET_SPECIAL = ["<pad>", "<unk>", "<cls>", "<sep>", "<mask>"]
SIZE = {"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}


def make_tokenizer(kind="bert"):
    """Word pieces, with special tokens where BERT or XLNet have them."""
    special = XLNET_SPECIAL if kind == "xlnet" else BERT_SPECIAL
    pad, unk, cls, sep, mask = special
    vocab = {token: i for i, token in enumerate([*special, *PIECES])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unk))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    template = f"$A:0 {sep}:0 {cls}:2" if kind == "xlnet" else f"{cls}:0 $A:0 {sep}:0"
    ids = [(token, vocab[token]) for token in (cls, sep)]
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unk,
        cls_token=cls,
        sep_token=sep,
        mask_token=mask,
        padding_side="left" if kind == "xlnet" else "right",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_config(kind):
    if kind == "xlnet":
        return XLNetConfig(vocab_size=19, d_model=16, n_layer=3, n_head=2, d_inner=32, pad_token_id=0)
    if kind == "distilbert":
        return DistilBertConfig(vocab_size=19, dim=16, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=40)
    cls = {"bert": BertConfig, "roberta": RobertaConfig}[kind]
    return cls(**SIZE, intermediate_size=32, max_position_embeddings=40, pad_token_id=0)


def make_model(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModel.from_config(make_config(kind)).eval()


def save(directory, kind="bert"):
    """Write a model and its tokenizer as they are published."""
    make_model(kind).save_pretrained(directory)
    make_tokenizer(kind).save_pretrained(directory)
    return str(directory)
