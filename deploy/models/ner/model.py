"""The tagger's network in torch, as ``gateway/pii/ner/network.py`` computes it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from gateway.pii.ner.features import GRAM_ROWS, SMALL_ROWS, WORD_ROWS, Features
from gateway.pii.ner.network import DISTANCES, EPSILON, TAGS

TABLE = 96  # columns of the tables of features
WIDTH = 160


def scaled(values: Tensor) -> Tensor:
    return values * torch.rsqrt(values.square().mean(1, keepdim=True) + EPSILON)


class Kept:
    """Dropout whose masks are stretches of one bank: to draw each would cost more than a layer."""

    def __init__(self, drop: float, generator: torch.Generator) -> None:
        self.bank = _bank(drop) if drop else None
        self.generator = generator

    def __call__(self, values: Tensor) -> Tensor:
        if self.bank is None:
            return values
        at = int(torch.randint(_BANK - values.numel(), (), generator=self.generator))
        return values * self.bank[at : at + values.numel()].view_as(values)


_BANK = 1 << 22


@lru_cache(maxsize=1)
def _bank(drop: float) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return (torch.rand(_BANK, generator=generator) >= drop).float() / (1 - drop)


class Near:
    """Rows with those ``distance`` before and after beside them, zeros across texts."""

    def __init__(self, texts: Tensor) -> None:
        self.same = {}
        for d in set(DISTANCES):
            same = (texts[d:] == texts[:-d]).float()[:, None]
            self.same[d] = same

    def __call__(self, values: Tensor, d: int) -> Tensor:
        same = self.same[d]
        before = F.pad(values[:-d] * same, (0, 0, d, 0))
        after = F.pad(values[d:] * same, (0, 0, 0, d))
        return torch.cat((before, values, after), 1)


class Net(nn.Module):
    def __init__(self, seed: int = 1, table: int = TABLE, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table_grams = nn.Parameter(torch.randn(GRAM_ROWS, table) * 0.05)
        self.table_words = nn.Parameter(torch.randn(WORD_ROWS, table) * 0.05)
        self.table_small = nn.Parameter(torch.randn(SMALL_ROWS, table) * 0.05)
        self.weight = nn.ParameterList()
        self.shift = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in DISTANCES[1:])
        self.bias_0 = nn.Parameter(torch.zeros(width))
        size = table
        for layer, _ in enumerate(DISTANCES):
            scale = (3 * size) ** -0.5 * (1.0 if layer == 0 else 0.7)
            self.weight.append(nn.Parameter(torch.randn(3 * size, width) * scale))
            size = width
        self.weight_out = nn.Parameter(torch.randn(width, TAGS) * width**-0.5 * 0.3)
        self.bias_out = nn.Parameter(torch.zeros(TAGS))
        with torch.no_grad():
            self.bias_out[0] = 2.0

    def forward(
        self, features: Features, drop: float = 0.0, lost: float = 0.0, seed: int = 0
    ) -> Tensor:
        """Scores of the tags; ``drop``: share of units dropped, ``lost``: of words' rows."""
        generator = torch.Generator().manual_seed(seed)
        as_tensor = torch.from_numpy
        words = F.embedding(as_tensor(features.words), self.table_words)
        if lost:
            words = words * (torch.rand(len(words), 1, generator=generator) >= lost)
        grams = F.embedding_bag(
            as_tensor(features.grams), self.table_grams, as_tensor(features.gram_starts), mode="sum"
        )
        forms = words + grams
        small = F.embedding_bag(as_tensor(features.small), self.table_small, mode="sum")
        tokens = forms[as_tensor(features.forms)]
        if lost:  # a token that shows only its shape
            tokens = tokens * (torch.rand(len(tokens), 1, generator=generator) >= lost / 3)
        near = Near(as_tensor(features.texts))
        kept = Kept(drop, generator)
        first = kept(scaled(tokens + small))
        hidden = near(first, DISTANCES[0]) @ self.weight[0] + self.bias_0
        for layer, distance in enumerate(DISTANCES[1:], 1):
            active = F.relu(scaled(hidden) + self.shift[layer - 1])
            hidden = hidden + near(kept(active), distance) @ self.weight[layer]
        return scaled(hidden) @ self.weight_out + self.bias_out

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by the names that ``network.py`` reads."""
        return {n.replace(".", "_"): p.detach().numpy() for n, p in self.named_parameters()}
