"""Cloister: an air-gapped gateway to small language models that masks personal data."""

__version__ = "0.1.0"
