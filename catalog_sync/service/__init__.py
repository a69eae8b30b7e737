"""The daemon: scheduler, signals, metrics and health over HTTP."""
