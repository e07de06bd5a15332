"""Write the trained model and its card: ``python -m deploy.models.ner.export --out FOLDER``.

Takes the mean of the weights over the last steps from ``work/checkpoint.pt``. The card's
calibration starts as the identity; ``calibrate.py`` writes the measured one.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from deploy.models.ner import card
from deploy.models.ner.model import Net
from gateway.pii.ner.network import LABELS, pack

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    net = Net()
    state = torch.load(options.work / "checkpoint.pt", weights_only=True)
    net.load_state_dict(state["mean"])
    data = pack(net.arrays())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / card.FILE).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    plain = dict.fromkeys(LABELS, (1.0, 0.0, 0.05))
    (options.out / "card.toml").write_text(card.written(digest, plain, 0.15, 0.5))
    print(f"{card.FILE}: {len(data) / 1e6:.1f} MB, sha256 {digest}, after {state['step']} steps")


if __name__ == "__main__":
    main()
