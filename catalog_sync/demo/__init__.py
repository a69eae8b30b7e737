"""A sandbox of the Models API, its recorded history of 2026, and the demo that replays it.

Nothing in here is imported by the rest of the program, except by the command `demo`.
"""
