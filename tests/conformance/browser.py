"""A headless Chromium over the DevTools protocol on a pipe: no port, no driver, no library.

https://chromedevtools.github.io/devtools-protocol: messages are JSON, each ended by a zero byte,
read by the browser on descriptor 3 and written on 4.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PAGE = Path(__file__).parents[2] / "audit" / "verify.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-default-browser-check",
)  # fmt: skip


class Browser:
    """One page in one browser. Commands are answered in turn; events are kept."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        start = 'exec "$0" "$@" 3<&"$DEVTOOLS_IN" 4>&"$DEVTOOLS_OUT" 2>/dev/null'
        self._process = subprocess.Popen(
            ["bash", "-c", start, CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={**os.environ, "DEVTOOLS_IN": str(theirs_in), "DEVTOOLS_OUT": str(theirs_out)},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number, self._session = b"", 0, None
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **params: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._read()
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise AssertionError(answer["error"])
            else:
                return answer["result"]

    def _read(self) -> dict:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path) -> None:
        self.call("Page.enable")
        self.call("Network.enable")
        self.call("Page.navigate", url=page.as_uri())
        while self.evaluate("document.readyState") != "complete":
            continue

    def evaluate(self, expression: str) -> object:
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        """Put files into an input as a person would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def verdict(
        self,
        files: Mapping[str, bytes],
        kept: Sequence[bytes] = (),
        receipts: Sequence[bytes] = (),
        *,
        pure: bool = False,
    ) -> tuple[int, str]:
        """What the page says of a bundle. ``pure``: with the page's own Ed25519."""
        given = json.dumps(
            [
                {name: base64.b64encode(data).decode() for name, data in files.items()},
                [base64.b64encode(note).decode() for note in kept],
                [base64.b64encode(note).decode() for note in receipts],
            ]
        )
        found = self.evaluate(
            f"""(async ([files, kept, receipts]) => {{
              const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
              const named = Object.entries(files).map(
                ([name, text]) => new File([bytes(text)], name));
              const options = {{ pure: {str(pure).lower()} }};
              return verdict(named, kept.map(bytes), receipts.map(bytes), options);
            }})({given})"""
        )
        return found["code"], found["words"]

    def close(self) -> None:
        with suppress(AssertionError, OSError):
            self._session = None
            self.call("Browser.close")
        os.close(self._out)
        os.close(self._in)
        self._process.wait(20)
