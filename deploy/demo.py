"""`make demo`: a clinician's and a lawyer's prompt through a fresh gateway, seen from every side.

Starts a gateway of its own on a free loopback port, with a home of its own that is removed at the
end. What the model saw and said is read as an auditor reads it: decrypted from the ledger.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

STARTUP_S = 60
ANCHORED, UNANCHORED = 0, 10

CLINICIAN = """\
Mr. Aurelio Fontanez (MRN: 58203417, phone 212-555-0163) was seen on 03/14/2024 for chest pain.
The ECG showed no acute changes and troponin was 0.01 ng/mL.
He takes lisinopril 10 mg daily and has no known drug allergies.
Mr. Fontanez will return to Dr. Perpetua Lindqvist in two weeks.

Why was he seen?"""

LAWYER = """\
Counsel for Mrs. Odalys Brannigan wrote from o.brannigan@example.com about docket no. 2023-CV-10482.
The lease of 1 May 2022 ends on 30 April 2027.
Either party may terminate it with ninety days' written notice.
Mrs. Brannigan gave notice by letter on 2 February 2024.

When did Mrs. Brannigan give notice?"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cloister-demo-") as folder:
        home = Path(folder) / "home"
        environment = {**os.environ, "CLOISTER_HOME": str(home)}
        run(environment, "gateway", "init", "--demo")
        port = free_port()
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--port", str(port)],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, server, Path(folder) / "log")
            keys = json.loads((home / "demo-keys.json").read_text())["api_keys"]
            for role, prompt in (("clinician", CLINICIAN), ("lawyer", LAWYER)):
                show_one(url, role, keys[role], prompt, home, environment)
            kept = Path(folder) / "kept-by-the-auditor"
            kept.write_text(run(environment, "audit", "checkpoint", str(home)))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        heading("auditlog verify, against the checkpoint that the auditor kept")
        verdict = subprocess.run(
            [sys.executable, "-m", "audit", "verify", str(home), "--checkpoint", str(kept)],
            env=environment, check=False,
        )  # fmt: skip
        return 0 if verdict.returncode == ANCHORED else 1


def show_one(  # noqa: PLR0913, PLR0917 - one request, seen from every side
    url: str, role: str, key: str, prompt: str, home: Path, environment: dict[str, str]
) -> None:
    heading(f"What the {role} wrote")
    print(prompt)
    answer, receipt = ask(url, key, prompt)
    rid = receipt.partition("-")[0]
    texts = sealed_texts(rid, home, environment)
    heading("What the model saw")
    print(texts["prompt.masked"])
    heading("What the model answered")
    print(texts["answer.masked"])
    heading(f"What the {role} got")
    print(answer)
    heading("The receipt")
    shown = get(f"{url}/v1/receipts/{receipt}", key)
    print(receipt)
    for record in shown["records"]:
        print(f"  record {record['index']}: {record['event']} at {record['minute']}")
    lines = [
        f"  {finding['entity_type']}: {finding['operator']}, by {rules(finding['because'])}"
        for finding in shown["explanation"]["findings"]
    ]
    print("\n".join(dict.fromkeys(lines)))


def rules(because: list[dict]) -> str:
    """The rules that chose the operator; the last one cited says who may see the value again."""
    return ", ".join(f"{c['policy']}/{c['rule']} ({c['clause']})" for c in because[:-1])


def ask(url: str, key: str, prompt: str) -> tuple[str, str]:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        f"{url}/v1/chat/completions",
        data=body.encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310 - as above
        receipt = response.headers["X-Receipt-Id"]
        return json.load(response)["choices"][0]["message"]["content"], receipt


def get(url: str, key: str) -> dict:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - as above
        return json.load(response)


def sealed_texts(rid: str, home: Path, environment: dict[str, str]) -> dict[str, str]:
    """What only the auditor's private key and the key store together open."""
    shown = run(
        environment, "audit", "show", str(home), "--rid", rid, "-o", "json",
        "--key", str(home / "demo-auditor.pem"), "--keystore", str(home / "keystore.db"),
    )  # fmt: skip
    texts: dict[str, str] = {}
    for line in shown.splitlines():
        texts |= json.loads(line)["text"].get("texts", {})
    return texts


def run(environment: dict[str, str], module: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *args],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (ANCHORED, UNANCHORED):
        sys.exit(f"demo: {module} {args[0]} failed: {done.stderr.strip()}")
    return done.stdout


def wait_until_ready(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit(f"demo: the gateway did not start:\n{log.read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def heading(text: str) -> None:
    print(f"\n── {text} " + "─" * max(0, 74 - len(text)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
