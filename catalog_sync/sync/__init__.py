"""One run: begin, walk, confirm, reconcile, apply."""
