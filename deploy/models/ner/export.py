"""Write the trained model and its card: ``python -m deploy.models.ner.export --out FOLDER``.

Takes the mean of the weights over the last steps from a checkpoint. The card's calibration is the
identity, which ``calibrate.py`` replaces by the measured one, or that of another card.
"""

from __future__ import annotations

import argparse
import hashlib
import tomllib
from pathlib import Path

import torch

from deploy.models.ner import card
from deploy.models.ner.model import Net
from gateway.pii.ner.network import LABELS, pack

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "work" / "checkpoint.pt")
    parser.add_argument("--curves", type=Path, help="take the calibration from this card")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    net = Net()
    state = torch.load(options.checkpoint, weights_only=True)
    net.load_state_dict(state["mean"])
    data = pack(net.arrays())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / card.FILE).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    curves = dict.fromkeys(LABELS, (1.0, 0.0, card.FLOOR))
    if options.curves:
        labels = tomllib.loads(options.curves.read_text())["labels"]
        curves = {name: tuple(curve.values()) for name, curve in labels.items()}
    (options.out / "card.toml").write_text(card.written(digest, curves))
    print(f"{card.FILE}: {len(data) / 1e6:.1f} MB, sha256 {digest}, after {state['step']} steps")


if __name__ == "__main__":
    main()
