"""A List Models API whose answers depend on nothing but its options: the server of the benchmarks.

Run: python tests/benchmarks/api.py [--models N] [--latency SECONDS]. It prints its port.

Every path prefix is a separate source with the same list, so `/a/v1/models` and `/b/v1/models`
serve two sources. `GET /revision/R` renames every hundredth model (of fewer than 100 models, one).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

CHANGED = 100
"""Every hundredth model changes with the revision."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")
FEATURES = ("batch", "citations", "code_execution", "image_input", "pdf_input", "thinking")
FLAGS = {f"feature_{number:02}": {"supported": number % 3 > 0} for number in range(12)}
CAPABILITIES = {
    **{name: {"supported": True} for name in FEATURES},
    "effort": {"supported": True} | {name: {"supported": True} for name in EFFORTS},
    "server_tools": {"supported": True, **FLAGS},
}


def model(number: int, revision: int) -> bytes:
    """One object of the API, about as large as a real one (1.1 KB)."""
    suffix = f", revision {revision}" if revision and number % CHANGED == 0 else ""
    fields = {
        "type": "model",
        "id": f"model-{number:06}",
        "display_name": f"Model {number}{suffix}",
        "created_at": f"2026-{number % 12 + 1:02}-01T00:00:00Z",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
        "capabilities": CAPABILITIES,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": "opus",
    }
    return json.dumps(fields).encode()


class Api:
    """The list of models, and what it answers."""

    def __init__(self, models: int, latency: float) -> None:
        self.latency = latency
        self.models = [model(number, 0) for number in range(models)]

    def answer(self, target: str) -> tuple[int, bytes]:
        """Answer a GET: a page, one model, or a change of the revision."""
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        parent, _, name = path.rpartition("/")
        if parent == "/revision":
            for number in range(0, len(self.models), CHANGED):
                self.models[number] = model(number, int(name))
            return 200, b"{}"
        if path.endswith("/v1/models"):
            return 200, self.page(query)
        number = name.removeprefix("model-")
        if number.isdecimal() and int(number) < len(self.models):
            return 200, self.models[int(number)]
        return 404, b'{"type": "error", "error": {"type": "not_found_error", "message": ""}}'

    def page(self, query: dict[str, list[str]]) -> bytes:
        """Return the page after the cursor."""
        limit = int(query.get("limit", ["20"])[0])
        cursor = query.get("after_id")
        start = int(cursor[0].removeprefix("model-")) + 1 if cursor else 0
        end = min(start + limit, len(self.models))
        rest = {
            "has_more": end < len(self.models),
            "first_id": f"model-{start:06}",
            "last_id": f"model-{end - 1:06}",
        }
        return b'{"data": [%s], %s' % (
            b", ".join(self.models[start:end]),
            json.dumps(rest).encode()[1:],
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = self.answer(head.split(b" ", 2)[1].decode())
                await asyncio.sleep(self.latency)
                writer.write(
                    b"HTTP/1.1 %d \r\ndate: %s\r\ncontent-type: application/json\r\n"
                    b"anthropic-organization-id: org-benchmark\r\ncontent-length: %d\r\n\r\n"
                    % (status, formatdate(usegmt=True).encode(), len(body))
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        finally:
            writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    api = Api(options.models, options.latency)
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
