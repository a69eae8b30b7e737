"""`check`: fails when a project depends on a model that has left or will leave."""
