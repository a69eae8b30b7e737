"""The Models API over HTTP."""

from catalog_sync.imports import without

# httpx imports its command line, with rich and pygments, wherever rich is installed: 40 ms.
with without("httpx._main"):
    import httpx  # noqa: F401
