"""What nobody caught is reported by its class: tracebacks and messages may quote a value."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PLANTED = "Zara Quillfeather"
RAISED = {
    "in the main thread": "raise ValueError(sys.argv[1])",
    "in a thread": "t = threading.Thread(target=int, args=[sys.argv[1]]); t.start(); t.join()",
    "in a finalizer": (
        "class A:\n  def __del__(self): raise ValueError(sys.argv[1])\nA(); gc.collect()"
    ),
}


@pytest.mark.parametrize("code", RAISED.values(), ids=RAISED)
def test_an_exception_that_nobody_caught_shows_only_its_class(code):
    """The interpreter's own reports go the way of all logs: a constant and a class."""
    program = f"import gc, sys, threading\nfrom gateway import log\nlog.configure()\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program, PLANTED], capture_output=True, text=True, check=False
    )
    assert PLANTED not in done.stderr + done.stdout
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(e["event"], e["error"]) for e in events] == [("uncaught", "ValueError")]
