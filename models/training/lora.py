"""LoRA: trains small low-rank additions to the encoder's matrices, and adds them in before the export."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft import LoraConfig, get_peft_model

from models.training.network import MeanPooledClassifier
from schemas.run_config import check_ranges


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation in place of full fine-tuning.

    Attributes:
        rank: of the additions; 0 for full fine-tuning.
        alpha: the additions are scaled by alpha / rank.
        dropout: on their input while training, in [0, 1).

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        check_ranges("lora", self, rank="[0, inf)", alpha="(0, inf)", dropout="[0, 1)")


def add_lora(network: MeanPooledClassifier, lora: Lora, seed: int) -> MeanPooledClassifier:
    """Freezes the encoder's weights and adds trainable low-rank matrices to each of its linear layers, in place.

    The head goes on being trained whole. The network keeps its type and its outputs.
    """
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=["query", "key", "value", "dense"]
    )
    network.bert = get_peft_model(network.bert, config)
    return network


def merge_lora(network: MeanPooledClassifier) -> MeanPooledClassifier:
    """Adds the low-rank matrices to the weights they belong to: the same answers, and a plain network again."""
    network.bert = network.bert.merge_and_unload()
    for parameter in network.parameters():
        parameter.requires_grad = True
    return network
