"""The commands of ``auditlog``, a module for each thing an auditor does."""
