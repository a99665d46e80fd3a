"""A tiny random encoder with a real tokenizer, and made-up text with labels: enough to train on in seconds."""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel, set_seed

COARSE_PARITY = """
[parity]                     # a random encoder of width 32 rounds coarsely
max_label_flips = 0.2
max_route_flips = 0.5
max_accuracy_loss = 0.2
"""
WORDS = {
    "invoice": ["pay", "bill", "amount", "due", "bank", "transfer", "overdue"],
    "travel": ["train", "hotel", "flight", "ticket", "night", "luggage", "platform"],
    "staff": ["holiday", "salary", "contract", "sick", "leave", "payroll", "manager"],
}


def made_up_rows(n_rows: int, seed: int = 1) -> tuple[list[str], list[str]]:
    """Texts of a few words with their labels, in turn."""
    rng = random.Random(seed)
    labels = sorted(WORDS)
    texts, gold = [], []
    for row in range(n_rows):
        label = labels[row % len(labels)]
        texts.append(" ".join(rng.choices(WORDS[label], k=rng.randint(2, 12))) + f" no {rng.randint(1, 99)}")
        gold.append(label)
    return texts, gold


def write_tiny_base(folder: Path, layers: int = 2, kind: str = "bert", width: int = 32) -> Path:
    """Writes config.json, weights and tokenizer.json of a random BERT or MPNet into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789.,")
    # Not from the library's trainer, which decides between equals by chance: no two networks were the same.
    words = sorted({word for text in made_up_rows(300)[0] for word in text.split() if word.isalpha() and len(word) > 1})
    parts = [part for word in words for cut in range(2, len(word)) for part in (word[:cut], f"##{word[cut:]}")]
    single = [*alphabet, *(f"##{letter}" for letter in alphabet)]
    pieces = list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *single, *words, *parts]))[:400]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    set_seed(7)
    values = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": 2, "intermediate_size": 2 * width, "max_position_embeddings": 128, "pad_token_id": 0,
    }  # fmt: skip
    if kind == "mpnet":
        MPNetModel(MPNetConfig(**values), add_pooling_layer=False).save_pretrained(folder)
    else:
        BertModel(BertConfig(**values), add_pooling_layer=False).save_pretrained(folder)
    return folder
