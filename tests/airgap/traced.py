"""Runs ``gateway`` with each address that it contacts or listens on written to a file.

``python -m tests.airgap.traced FILE serve --port 8080``. The hook here only watches; the gateway
installs its own, which refuses, afterwards.
"""

from __future__ import annotations

import json
import runpy
import sys

WATCHED = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"})
LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})


def main() -> None:
    file = open(sys.argv[1], "a", buffering=1)  # noqa: SIM115, PTH123  # until the process ends

    def watch(event: str, args: tuple[object, ...]) -> None:
        if event in WATCHED:
            file.write(json.dumps([event, repr(args[1])]) + "\n")
        elif event in LOOKUPS:
            file.write(json.dumps([event, repr(args[0])]) + "\n")

    sys.addaudithook(watch)
    sys.argv = ["gateway", *sys.argv[2:]]
    runpy.run_module("gateway", run_name="__main__")


if __name__ == "__main__":
    main()
