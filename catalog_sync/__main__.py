"""Entry point of `catalog-sync` and `python -m catalog_sync`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from catalog_sync.cli import run  # noqa: PLC0415  # importing this module must cost nothing

    sys.exit(run())


if __name__ == "__main__":
    main()
