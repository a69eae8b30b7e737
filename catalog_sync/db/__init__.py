"""Tables and statements, by aggregate."""
