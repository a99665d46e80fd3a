"""The fine-tuned network: a BERT encoder, the mean of its token vectors, one linear layer."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BertConfig, BertModel, BertPreTrainedModel
from transformers.utils import ModelOutput


class MeanPooledClassifier(BertPreTrainedModel):  # type: ignore[misc]
    """Classifies a text from the mean of its token vectors.

    `forward` returns `logits` (n_documents, n_labels) and `embedding` (n_documents, hidden_size), both float32.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = torch.nn.Dropout(config.hidden_dropout_prob)
        self.head = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> ModelOutput:
        """Scores a batch of (n_documents, n_tokens) int64 ids and mask, without mask one of texts of equal length;
        further inputs are ignored.
        """
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if attention_mask is None:
            embedding = tokens.mean(dim=1)
        else:
            mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
            embedding = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        return ModelOutput(logits=self.head(self.dropout(embedding)), embedding=embedding)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def start_head_from_prototypes(self, embeddings: torch.Tensor, label_ids: torch.Tensor, scale: float) -> None:
        """Sets each label's weights to the normalised mean embedding of its rows, times `scale`.

        A head that starts near the answer keeps the first steps from tearing up the encoder.

        Source: Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", 2017.
        """
        unit = torch.nn.functional.normalize(embeddings, dim=1)
        for label_id in range(self.head.out_features):
            rows = unit[label_ids == label_id]
            if not len(rows):  # a label that only teachers know
                continue
            centre = rows.mean(dim=0)
            self.head.weight[label_id] = scale * torch.nn.functional.normalize(centre, dim=0)
        self.head.bias.zero_()
