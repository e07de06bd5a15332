"""The zip files of the corpora: the same files give the same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

_DATED = (1980, 1, 1, 0, 0, 0)


def pack_files(files: Mapping[str, bytes], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, _DATED)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
