"""Entry point of `catalog-sync` and `python -m catalog_sync`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from catalog_sync.cli import run  # noqa: PLC0415  # importing this module must stay cheap

        exit_code = run()
    except KeyboardInterrupt:  # while modules are imported; `run` handles signals itself
        sys.stderr.write("catalog-sync: interrupted\n")
        exit_code = 130
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
