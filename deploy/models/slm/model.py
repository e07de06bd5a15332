"""A small llama: RMSNorm, interleaved rope, grouped queries, SwiGLU, tied embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name


@dataclass(frozen=True, slots=True)
class Shape:
    vocabulary: int = 8192
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 512
    theta: float = 100000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        return self.width // self.heads


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.attn_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.q = nn.Linear(shape.width, shape.width, bias=False)
        self.k = nn.Linear(shape.width, kv, bias=False)
        self.v = nn.Linear(shape.width, kv, bias=False)
        self.o = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, masks: list[Tensor]) -> Tensor:
        """``x``: (tokens of all packs, width); each pack has its own additive mask."""
        s, n = self.shape, x.shape[0]
        y = self.attn_norm(x)
        q = rotate(self.q(y).view(n, s.heads, s.head), turn).transpose(0, 1)
        k = rotate(self.k(y).view(n, s.kv_heads, s.head), turn).transpose(0, 1)
        v = self.v(y).view(n, s.kv_heads, s.head).transpose(0, 1)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        sizes = [len(m) for m in masks]
        parts = zip(q.split(sizes, 1), k.split(sizes, 1), v.split(sizes, 1), masks, strict=True)
        seen = [
            F.scaled_dot_product_attention(a[None], b[None], c[None], attn_mask=m)[0]
            for a, b, c, m in parts
        ]
        x = x + self.o(torch.cat(seen, 1).transpose(0, 1).reshape(n, s.width))
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Model(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)

    def forward(self, ids: Tensor, positions: Tensor, masks: list[Tensor]) -> Tensor:
        """Hidden states (tokens, width) after the last norm; multiply by ``embed`` for logits."""
        turn = angles(positions, self.shape)
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, turn, masks)
        return self.norm(x)


def angles(positions: Tensor, shape: Shape) -> Tensor:
    steps = torch.arange(0, shape.head, 2, dtype=torch.float32) / shape.head
    angle = positions.float()[:, None] * (shape.theta**-steps)[None]
    return torch.polar(torch.ones_like(angle), angle)[:, None]


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rope over neighbouring pairs, as llama.cpp does for the llama architecture."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)


# --- weights at step 0 ---
#
# Looking something up takes three hops. Found from nothing they cost hours; drawn in by hand they
# cost none, and training starts from a model that can match words. Dimensions of the stream:
#   0-61    the code of the sentence a token stands in; 62 says that it stands in one
#   64-125  the code of a sentence that was found; labels carry theirs here; 126 goes with it
#   128-251 what the token is; 252 how rare it is; 253 marks the opening of the prompt
#   254     the same for all tokens; 255 marks labels and line ends

CODE, IN, OUT = 62, slice(0, 64), slice(64, 128)
WORD, RARE, SINK, ALL, MARK = slice(128, 252), 252, 253, 254, 255
NEAR, FAR = slice(12, 28, 2), slice(40, 56, 2)  # rope pairs 6-13 fade with distance, 20-27 do not
SLOW = slice(32, 64)  # pairs 16-31: words match at any distance


def start(shape: Shape, seed: int, pieces: Pieces) -> Model:
    """Weights at step 0. Everything is trained on from there."""
    torch.manual_seed(seed)
    model = Model(shape)
    with torch.no_grad():
        _start_embeddings(model.embed.weight, pieces)
        for block in model.blocks:
            for layer in (block.q, block.k, block.v, block.gate, block.up):
                nn.init.normal_(layer.weight, std=shape.width**-0.5)
            nn.init.normal_(block.o.weight, std=0.02)
            nn.init.normal_(block.down.weight, std=0.03)
        _note_sentence(model.blocks[0], shape)
        _match_words(model.blocks[1], shape)
        _gather(model.blocks[2], shape)
        model.norm.weight[IN] = 0.01
        model.norm.weight[OUT] = 0.08
        model.norm.weight[128:] = 0.025
    return model


@dataclass(frozen=True, slots=True)
class Pieces:
    """Token ids with a part of their own, and for each token the number of its word stem."""

    labels: list[int]
    line_end: int
    user: int
    stems: list[int]


def _start_embeddings(weight: Tensor, pieces: Pieces) -> None:
    """Tokens of one stem ("Dogs", "dog") start close to each other."""
    weight.normal_(std=0.05)
    words = torch.randn_like(weight[:, WORD])
    own = torch.randn_like(words)
    weight[:, WORD] = 0.9 * words[torch.tensor(pieces.stems)] + 0.43 * own
    weight[:, ALL] = 6.0
    weight[:, RARE] = 0.0
    weight[: pieces.user, RARE] = torch.linspace(0, 6, pieces.user)  # merges go by frequency
    labels = pieces.labels
    weight[labels, 64 : 64 + CODE] = torch.randn(len(labels), CODE).sign()
    weight[labels, 126] = 6.0
    weight[labels, WORD] *= 0.3
    weight[labels, MARK] = 6.0
    weight[pieces.line_end, MARK] = 5.5  # less than a label: what follows it stands in no sentence
    weight[pieces.user, CODE] = 3.6  # nor does the opening, which must not pass for a question
    weight[pieces.user, SINK] = 6.0


def _carry(  # noqa: PLR0913, PLR0917
    block: Block, shape: Shape, kv: int, read: slice, write: slice, gain: float
) -> None:
    """Let a key-value head copy the dimensions ``read`` of what it attends to into ``write``."""
    group, head = shape.heads // shape.kv_heads, shape.head
    block.v.weight[kv * head : (kv + 1) * head] = 0.0
    block.v.weight[kv * head : (kv + 1) * head, read] = torch.eye(head)
    for h in range(kv * group, (kv + 1) * group):
        block.o.weight[:, h * head : (h + 1) * head] = 0.0
        block.o.weight[write, h * head : (h + 1) * head] = torch.eye(head) * gain / group


def _note_sentence(block: Block, shape: Shape) -> None:
    """First hop: every token attends to the nearest label or line end before it."""
    keys, queries = block.k.weight[: shape.head], block.q.weight[: 2 * shape.head]
    keys.zero_()
    queries.zero_()
    keys[NEAR, MARK] = 0.81
    for h in range(shape.heads // shape.kv_heads):
        queries[h * shape.head : (h + 1) * shape.head][NEAR, ALL] = 0.81
    _carry(block, shape, 0, OUT, IN, 0.5)


def _match_words(block: Block, shape: Shape) -> None:
    """Second hop: equal words attend to each other and take over the code of the sentence."""
    group, head = shape.heads // shape.kv_heads, shape.head
    block.k.weight.zero_()
    block.q.weight.zero_()
    for kv in range(shape.kv_heads):
        words = torch.randn(32, 124) * 1.8 / 124**0.5
        block.k.weight[kv * head : (kv + 1) * head][SLOW, WORD] = words
        block.k.weight[kv * head : (kv + 1) * head][NEAR, ALL] = 0.4  # not the word itself
        block.k.weight[kv * head : (kv + 1) * head][FAR, SINK] = 0.4  # for words that match none
        for h in range(kv * group, (kv + 1) * group):
            block.q.weight[h * head : (h + 1) * head][SLOW, WORD] = words
            block.q.weight[h * head : (h + 1) * head][NEAR, ALL] = -0.4
            block.q.weight[h * head : (h + 1) * head][FAR, ALL] += 0.4
        _carry(block, shape, kv, IN, OUT, 1.6)


def _gather(block: Block, shape: Shape) -> None:
    """Third hop: gather what the words of the question, which stand in no sentence, have found."""
    keys, queries = block.k.weight[: shape.head], block.q.weight[: 2 * shape.head]
    keys.zero_()
    queries.zero_()
    for dimension, weight in ((RARE, 0.9), (126, 0.9), (CODE, -2.5), (MARK, -1.0)):
        keys[FAR, dimension] = weight
    for h in range(shape.heads // shape.kv_heads):
        queries[h * shape.head : (h + 1) * shape.head][FAR, ALL] = 0.3
    _carry(block, shape, 0, OUT, OUT, 2.0)
