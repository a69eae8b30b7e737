"""Questions that people and monitoring ask. Read-only."""
