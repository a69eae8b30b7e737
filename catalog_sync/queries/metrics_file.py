"""The metrics as a file for the textfile collector of Prometheus's node_exporter."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

from catalog_sync.files import atomic_write
from catalog_sync.logs import fields
from catalog_sync.queries.metrics import Snapshot, exposition

logger = logging.getLogger(__name__)
_NAMED = re.compile(r"catalog[-_]sync[-_](.+)\.prom")


def write(path: Path, snapshot: Snapshot) -> None:
    """Replace the metrics file at `path`.

    node_exporter fails if two files in its directory have the same series. Samples in a file
    `catalog-sync-NAME.prom` therefore have the label `catalog="NAME"`, and a conflict is logged.
    Raises OSError.
    """
    named = _NAMED.fullmatch(path.name)
    content = exposition(snapshot, catalog=named[1] if named else "")
    atomic_write(path, [content])
    (series,) = re.findall(rb"^catalog_sync_database_up.* ", content, re.MULTILINE)
    for other in sorted(path.parent.glob("*.prom")):
        with suppress(OSError):
            if other.name != path.name and b"\n" + series in other.read_bytes():
                logger.warning(
                    "two metrics files have the same series, which node_exporter refuses; "
                    "name each catalog-sync-NAME.prom, or delete the older one",
                    extra=fields(file=str(path), other=str(other)),
                )
