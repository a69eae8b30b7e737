"""catalog-sync keeps a SQL table of the models that an Anthropic API key can reach."""

__version__ = "0.1.0"

__all__ = ["__version__"]
