"""The Models API over HTTP."""
