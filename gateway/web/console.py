"""The console: one page that speaks to the HTTP surface with the user's own key.

The page and what it loads are served from this process and hold no data. It needs no key to be
read; every question it asks does. Its policy (CSP) lets it load from and speak to this origin only.
"""

from __future__ import annotations

from importlib import resources

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), clipboard-read=()",
    "X-Frame-Options": "DENY",
}
_FILES = {
    "/": ("index.html", "text/html"),
    "/console.css": ("console.css", "text/css"),
    "/console.js": ("console.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def pages() -> list[HTTPRouteHandler]:
    """Return the handlers of the console; its files are read now, once."""
    folder = resources.files("gateway.web") / "static"
    return [
        _page(path, (folder / name).read_bytes(), media_type)
        for path, (name, media_type) in _FILES.items()
    ]


def _page(path: str, body: bytes, media_type: str) -> HTTPRouteHandler:
    @get(path)
    async def page() -> ASGIResponse:
        return ASGIResponse(body=body, media_type=media_type, headers=_HEADERS)

    return page
