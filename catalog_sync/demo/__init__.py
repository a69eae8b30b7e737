"""A sandbox of the Models API, its recorded history of 2026, and the demo that replays it.

The rest of the program does not import this package, except for the command `demo`.
"""
