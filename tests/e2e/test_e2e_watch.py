"""A gateway whose settings name a syslog and a file sends both what it puts on record."""

from __future__ import annotations

import json
import socket
import stat
from urllib.request import Request, urlopen

from tests import running


def test_records_and_alerts_reach_syslog_and_file_through_the_air_gap(tmp_path, upstream):
    """The socket that the settings name is let through; an alert arrives with its severity."""
    path = tmp_path / "log"
    watch = f'[watch]\nsyslog = "{path}"\nfile = "records.log"\nsubjects_per_day = 1\n'
    settings = running.upstream_settings(upstream.url) + watch
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(20)
        with running.running(tmp_path / "home", settings) as gateway:
            body = {
                "model": "upstream",
                "messages": [{"role": "user", "content": "Summarise: the ward is quiet."}],
                "metadata": {"subject": "subject-4711"},
            }
            request = Request(
                f"{gateway.url}/v1/chat/completions",
                json.dumps(body).encode(),
                {
                    "Authorization": f"Bearer {gateway.keys['clinician']}",
                    "Content-Type": "application/json",
                },
            )
            with urlopen(request, timeout=60) as answer:
                assert answer.status == 200
            got: list[str] = []
            while not any("alert.raised" in each for each in got):
                got.append(sock.recv(65536).decode("ascii"))
    assert got[-1].startswith("<105>1 ")
    assert "watch/distinct-subjects" in got[-1]
    lines = (tmp_path / "home" / "records.log").read_text("ascii").splitlines()
    events = [json.loads(each)["event"] for each in lines]
    assert {"boot", "intent", "alert.raised", "outcome"} <= set(events)
    assert "subject-4711" not in "".join(lines + got)
    assert stat.S_IMODE((tmp_path / "home" / "records.log").stat().st_mode) == 0o600
