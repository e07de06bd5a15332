"""The sealed, verifiable log of Cloister. Stands alone: imports nothing of ``gateway``."""
