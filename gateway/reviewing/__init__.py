"""Showing a person what masking would do to a file, before anything is written."""

from gateway.reviewing.review import review

__all__ = ["review"]
