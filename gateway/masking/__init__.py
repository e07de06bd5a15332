"""De-identification of rows, files and folders from a command line."""

from gateway.masking.rows import mask_jsonl
from gateway.masking.run import Run

__all__ = ["Run", "mask_jsonl"]
