"""`check`: fails when a model that a project depends on is not there to stay."""
