"""The cost of a million documents: here, and asked of a large language model one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.settings import CostSettings
from models.bundle import load_bundle

_MILLION = 10**6


@dataclass(frozen=True)
class Cost:
    """A million documents; dollars.

    Attributes:
        core_hours: of the whole job.
        docyard: what they cost.
        llm_input_tokens: mean of a prompt that names every label, by the bundle's own tokenizer.
        llm: what the model costs, the same labels in every prompt.
        prices: of what, and when.
    """

    core_hours: float
    docyard: float
    llm_input_tokens: float
    llm: float
    prices: str


def million_documents(prices: CostSettings, bundle_folder: str, texts: Sequence[str], core_seconds: float) -> Cost:
    """Reckons the cost of a million documents.

    Args:
        prices: of a core and of the language model.
        bundle_folder: whose labels the prompt would name, and whose tokenizer counts.
        texts: some of the documents.
        core_seconds: that one document takes in the whole job.
    """
    bundle = load_bundle(Path(bundle_folder))
    tokenizer = Tokenizer.from_str(bundle.read("tokenizer.json").decode())
    fixed = len(tokenizer.encode(f"{prices.llm_prompt} {', '.join(bundle.labels)}").ids)
    own = sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))) / len(texts)
    core_hours = core_seconds * _MILLION / 3600
    llm = (fixed + own) * prices.llm_million_input + prices.llm_answer_tokens * prices.llm_million_output
    return Cost(
        core_hours=core_hours,
        docyard=core_hours * prices.core_hour,
        llm_input_tokens=fixed + own,
        llm=llm,
        prices=f"{prices.core_hour_of}; {prices.llm}, list price of {prices.llm_date}",
    )
