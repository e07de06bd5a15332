"""``/audit/v1``: the log as an auditor reads it over HTTP. Nothing here opens a seal."""
