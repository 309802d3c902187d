"""N-gram features of sentences, shared by several encoders."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

LONGEST = 3  # words in a row


@lru_cache(maxsize=4096)
def ngrams(sentence: str, buckets: int) -> tuple[int, ...]:
    """All runs of one to three words, lower-case and without punctuation, as buckets of a hash."""
    words = re.findall(r"\w+", sentence.lower())
    runs = [" ".join(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)]
    return tuple(zlib.crc32(run.encode()) % buckets for run in runs)


class NgramEncoder(nn.Module):
    """The sum of the embeddings of a sentence's hashed n-grams (Joulin et al. 2016, Bag of Tricks).

    It needs no vocabulary, and n-grams keep enough of the order to separate "red on green" from "green on red". The sum
    is divided by the square root of their number, which keeps its scale independent of the sentence's length.
    """

    def __init__(self, width: int, buckets: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.embedding = nn.EmbeddingBag(buckets, width, mode="sum")

    def forward(self, sentences: Sequence[str]) -> Tensor:
        """N sentences → (N, width)."""
        runs = [ngrams(sentence, self.buckets) for sentence in sentences]
        offsets = torch.tensor([0, *(len(r) for r in runs[:-1])]).cumsum(0)
        flat = torch.tensor([i for r in runs for i in r], dtype=torch.long)
        device = self.embedding.weight.device
        total: Tensor = self.embedding(flat.to(device), offsets.to(device))
        return total / torch.tensor([max(1, len(r)) for r in runs], device=device)[:, None].sqrt()
