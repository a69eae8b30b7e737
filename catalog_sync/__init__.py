"""catalog-sync keeps a SQL table of the models that an Anthropic API key can reach.

As a library, use `App`. `load` reads the same configuration as the command line:

    with App(load()) as app:
        reports = app.sync()                 # one run over every source
        models = app.models(as_of=time)      # the models that were listed then
        for event in app.events():           # the changes, oldest first
            ...

`__all__` names the public API. The library configures no logging, prints nothing, installs no
signal handler and leaves no thread running. Errors derive from CatalogSyncError: ConfigError and
DatabaseError are raised; an error of one source is in its RunReport.
"""

from typing import TYPE_CHECKING, Any

from catalog_sync._version import __version__

if TYPE_CHECKING:
    from catalog_sync.app import App
    from catalog_sync.config.load import load
    from catalog_sync.config.settings import AlertSettings, Settings, SourceSettings
    from catalog_sync.config.values import SecretStr
    from catalog_sync.db.outbox import DeliveryCounts
    from catalog_sync.domain.kinds import Kind, RunStatus
    from catalog_sync.domain.model import Event, ModelInfo, ModelRecord
    from catalog_sync.errors import CatalogSyncError, ConfigError, DatabaseError, SourceError
    from catalog_sync.sync.context import RunOptions
    from catalog_sync.sync.report import RunReport

__all__ = [
    "AlertSettings",
    "App",
    "CatalogSyncError",
    "ConfigError",
    "DatabaseError",
    "DeliveryCounts",
    "Event",
    "Kind",
    "ModelInfo",
    "ModelRecord",
    "RunOptions",
    "RunReport",
    "RunStatus",
    "SecretStr",
    "Settings",
    "SourceError",
    "SourceSettings",
    "__version__",
    "load",
]

_MODULES = {
    "app": ["App"],
    "config.load": ["load"],
    "config.settings": ["AlertSettings", "Settings", "SourceSettings"],
    "config.values": ["SecretStr"],
    "db.outbox": ["DeliveryCounts"],
    "domain.kinds": ["Kind", "RunStatus"],
    "domain.model": ["Event", "ModelInfo", "ModelRecord"],
    "errors": ["CatalogSyncError", "ConfigError", "DatabaseError", "SourceError"],
    "sync.context": ["RunOptions"],
    "sync.report": ["RunReport"],
}
"""The module of each public name. Importing the package alone loads none of these modules."""
_NAMES_OF_0_1 = {"PassOptions": "RunOptions"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    from importlib import import_module  # noqa: PLC0415

    public = _NAMES_OF_0_1.get(name, name)
    for module, names in _MODULES.items():
        if public in names:
            return getattr(import_module(f"{__name__}.{module}"), public)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
