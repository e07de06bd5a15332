"""Drawing tokens from logits. Child only."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as llama

from gateway.engine import wire


class Sampler:
    """Draws tokens of one answer from logits. Its random numbers are its own.

    So the same seed draws the same tokens from the same logits, whatever else is in the batch.
    """

    def __init__(
        self,
        context: llama.llama_context_p,
        words: int,
        ask: wire.Generate,
        seed: int,
        remembered: int,
    ) -> None:
        """``remembered``: tokens of the answer that penalties look at."""
        self._context = context
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())

        def add(sampler: llama.llama_sampler_p) -> None:
            llama.llama_sampler_chain_add(self._chain, sampler)

        if ask.bias:
            pairs = [llama.llama_logit_bias(token, bias) for token, bias in ask.bias]
            room = (llama.llama_logit_bias * len(pairs))(*pairs)
            add(llama.llama_sampler_init_logit_bias(words, len(pairs), room))
        penalised = bool(ask.frequency_penalty or ask.presence_penalty)
        self._copies = penalised and bool(ask.grammar)
        self._before: llama.llama_sampler_p | None = None
        if penalised:
            add(
                llama.llama_sampler_init_penalties(
                    words, remembered, 1.0, ask.frequency_penalty, ask.presence_penalty
                )
            )
        if ask.temperature <= 0:
            add(llama.llama_sampler_init_greedy())
            return
        add(llama.llama_sampler_init_temp(ask.temperature))
        add(llama.llama_sampler_init_top_p(ask.top_p, 1))
        add(llama.llama_sampler_init_dist(seed))

    def draw(self, row: int) -> int:
        """Draw from the logits of a scored row."""
        if self._copies:
            self._free(self._before)
            self._before = llama.llama_sampler_clone(self._chain)
        return int(llama.llama_sampler_sample(self._chain, self._context, row))

    def retract(self) -> None:
        """Take back the last draw: penalties do not count it."""
        if self._before is not None:
            self._free(self._chain)
            self._chain, self._before = self._before, None

    def draw_among(self, row: int, allowed: Sequence[int]) -> int:
        """Draw from the logits of a scored row as if there were none but ``allowed``."""
        logits = llama.llama_get_logits_ith(self._context, row)
        data = (llama.llama_token_data * len(allowed))(
            *(llama.llama_token_data(token, logits[token], 0.0) for token in allowed)
        )
        candidates = llama.llama_token_data_array(data, len(allowed), -1, False)
        llama.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        token = int(candidates.data[candidates.selected].id)
        llama.llama_sampler_accept(self._chain, token)
        return token

    @staticmethod
    def _free(chain: llama.llama_sampler_p | None) -> None:
        if chain is not None:
            llama.llama_sampler_free(chain)

    def __del__(self) -> None:
        self._free(self._before)
        self._free(self._chain)
