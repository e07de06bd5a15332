"""The key store at rest: what encrypts it, and how that is changed (audit-format.md §7.6)."""
