"""Write the trained model as GGUF: ``python deploy/models/slm/export.py --out FILE``.

Reads what ``calibrate.py`` wrote.

Matrices are Q8_0, norms F32. Nothing is permuted, because training turned neighbouring pairs as
llama.cpp does, and ``output.weight`` is left out, because the embeddings are tied.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import form
import gguf
import numpy as np
import tokens
import torch
from model import Model, Shape

HERE = Path(__file__).parent
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}<|end|>"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NAMES = {
    "attn_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
    "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def load(work: Path) -> Model:
    model = Model(Shape())
    model.load_state_dict(torch.load(work / "calibrated.pt", weights_only=True)["model"])
    return model.eval()


def export(work: Path, out: Path) -> str:
    """Write ``out`` and return its SHA-256 (hex)."""
    model = load(work)
    writer = gguf.GGUFWriter(str(out), "llama")
    describe(writer, model.shape)
    add_tokenizer(writer, json.loads(tokens.load().to_str()))
    add_tensor(writer, "token_embd", model.embed.weight)
    for number, block in enumerate(model.blocks):
        for ours, theirs in NAMES.items():
            add_tensor(writer, f"blk.{number}.{theirs}", getattr(block, ours).weight)
    add_tensor(writer, "output_norm", model.norm.weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hashlib.sha256(out.read_bytes()).hexdigest()


def describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name("cloister-extract")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(form.CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.theta)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_string("cloister.decoding", "extractive")
    writer.add_string("cloister.abstention", form.ABSTENTION)
    writer.add_string("cloister.separator", form.SEPARATOR)
    writer.add_string("cloister.label", form.LABEL)
    writer.add_uint32("cloister.labels", form.LABELS)
    writer.add_string("cloister.abstain", form.ABSTAIN)
    writer.add_string("cloister.line", form.LINE)
    writer.add_string("cloister.user", form.USER)
    writer.add_string("cloister.assistant", form.ASSISTANT)
    writer.add_string("cloister.end", form.END)


def add_tokenizer(writer: gguf.GGUFWriter, saved: dict[str, object]) -> None:
    """Write ``tokenizer.json`` as llama.cpp's byte-level BPE, pre-tokenizer ``smollm``."""
    model, added = saved["model"], saved["added_tokens"]
    assert isinstance(model, dict)  # noqa: S101 - the format of the library
    assert isinstance(added, list)  # noqa: S101
    ids = {number: piece for piece, number in model["vocab"].items()}
    types = dict.fromkeys(ids, gguf.TokenType.NORMAL)
    for token in added:
        number, text = token["id"], token["content"]
        ids[number] = text
        types[number] = gguf.TokenType.UNUSED
        if text in form.CONTROL:
            types[number] = gguf.TokenType.CONTROL
        elif text in form.USER_DEFINED:
            types[number] = gguf.TokenType.USER_DEFINED
    end = next(number for number, text in ids.items() if text == form.END)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([ids[number] for number in range(len(ids))])
    writer.add_token_types([types[number] for number in range(len(ids))])
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in model["merges"]])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)


def add_tensor(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor) -> None:
    data = weight.detach().float().numpy()
    if data.ndim == 1:
        writer.add_tensor(f"{name}.weight", data.astype(np.float32))
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(f"{name}.weight", gguf.quants.quantize(data, kind), raw_dtype=kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    digest = export(options.work, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
