"""Queries for people and for monitoring. Read-only."""
