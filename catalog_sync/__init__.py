"""catalog-sync keeps a SQL table of the models that an Anthropic API key can reach.

As a library it is `App`, made of `Settings` that `load` reads as the command line does:

    with App(load()) as app:
        reports = app.sync()                 # one pass over every source
        models = app.models(as_of=moment)    # what was listed then
        for event in app.events():           # what changed, oldest first
            ...

What `__all__` names is the public surface. It configures no logging, prints nothing, installs no
signal handler and leaves no thread behind. Errors are CatalogSyncError's kinds: ConfigError and
DatabaseError are raised, what concerns one source alone is in its RunReport.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalog_sync.app import App, PassOptions
    from catalog_sync.errors import CatalogSyncError, ConfigError, DatabaseError, SourceError
    from catalog_sync.records import (
        DeliveryCounts,
        Event,
        Kind,
        ModelInfo,
        ModelRecord,
        RunReport,
        RunStatus,
    )
    from catalog_sync.settings import AlertSettings, Settings, SourceSettings, load

__version__ = "0.1.0"

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
    "PassOptions",
    "RunReport",
    "RunStatus",
    "Settings",
    "SourceError",
    "SourceSettings",
    "__version__",
    "load",
]

_HOMES = ("errors", "records", "settings", "app")
"""The modules that `__all__` is taken from: the light ones first."""


def __getattr__(name: str) -> Any:
    """Import what is asked for: a program that only wants the version pays for nothing else."""
    from importlib import import_module  # noqa: PLC0415

    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
