"""The Models API over HTTP."""

import sys

# httpx imports its command line, with rich and pygments, wherever rich is installed: 40 ms.
_COMMAND_LINE = "httpx._main"
if "httpx" not in sys.modules:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
    import httpx  # noqa: F401

    del sys.modules[_COMMAND_LINE]
