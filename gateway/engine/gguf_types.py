"""The tables of the GGUF format that change with llama.cpp: kinds of tensors, files and models.

Source: llama.cpp 0c1e57098, as llama-cpp-python 0.3.36 builds it: ggml/include/ggml.h,
ggml/src/ggml-common.h, include/llama.h (``llama_ftype``), src/llama-arch.cpp and the ``switch`` of
src/llama-model.cpp. A test holds the tables to the library that is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TensorType:
    """``elements`` of a row make one block of ``size_bytes``."""

    name: str
    elements: int
    size_bytes: int


# Ids 4, 5, 31 to 33 and 36 to 38 were removed from ggml.
TENSOR_TYPES: Final = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}
"""Q8_1 and Q8_K (ids 9 and 15) are what activations are turned into; no file holds them."""

FILE_TYPES: Final = dict(
    enumerate(
        "F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S "
        "Q5_K_M Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M "
        "IQ4_XS IQ1_M BF16 - - - TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0".split()
    )
)
"""What ``general.file_type`` calls a file whose tensors are mostly of one type; "-": removed."""

# --- architectures ------------------------------------------------------------------------------

ENCODERS: Final = frozenset(
    "bert eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llama-embed modern-bert neo-bert "
    "nomic-bert nomic-bert-moe".split()
)
"""They give a vector for a text and write nothing."""

RECURRENT: Final = frozenset(
    "arwkv7 bailingmoe3 deepseek4 falcon-h1 glm5-next granitehybrid jamba kimi-k3 kimi-linear lfm2 "
    "lfm2moe mamba mamba2 minimax-01 nemotron_h nemotron_h_moe plamo2 qwen35 qwen35moe qwen3next "
    "qwen4exp rwkv6 rwkv6qwen2 rwkv7".split()
)
"""Some or all of what they remember is one state, which cannot be cut back to a prefix."""

_ATTENTIVE: Final = frozenset(
    "afmoe apertus arcee arctic baichuan bailingmoe bailingmoe2 bitnet bloom chameleon chatglm "
    "codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr "
    "deepseek32 dots1 dots3note ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon gemma "
    "gemma2 gemma3 gemma3n gemma4 glm-dsa glm4 glm4moe gpt-oss gpt2 gptneox granite granite_swa "
    "granitemoe graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 "
    "hy_v4 internlm2 jais jais2 laguna llama llama4 maincoder maple mellum mimo2 minicpm minicpm3 "
    "minimax-m2 minimax-m3 mistral3 mistral4 mpt muse-glimmer nanbeige nemotron olmo olmo2 olmoe "
    "openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo3 plm qwen qwen2 qwen2moe "
    "qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe refact seed_oss smallthinker smollm3 spark2_5 "
    "stablelm starcoder starcoder2 step35 talkie xverse".split()
)

KNOWN: Final = ENCODERS | RECURRENT | _ATTENTIVE
"""The architectures that may enter. Left out although llama.cpp names them: what needs a second
model (eagle3, dflash, gemma4-assistant), what encodes first (t5, t5encoder), what writes by
diffusion (dream, llada, llada-moe, rnd1), speech (qwen3tts, pockettts, wavtokenizer-dec), and what
is a name only (clip, gptj)."""

PLAIN: Final = frozenset(
    "arcee exaone gemma gemma2 gemma3 gemma-embedding granite llama llama-embed minicpm mistral3 "
    "qwen2 qwen3 refact smollm3".split()
)
"""Those whose queries, keys and values are one matrix each per block, as wide as the heads say."""
