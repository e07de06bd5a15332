"""The generator of training texts: templates and values, exact spans, one seed one corpus."""

from deploy.models.ner.generate.corpus import Example, check, examples
from deploy.models.ner.generate.grammar import Span

__all__ = ["Example", "Span", "check", "examples"]
