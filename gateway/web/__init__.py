"""The console: one page, all local."""

from gateway.web.console import pages

__all__ = ["pages"]
