"""What a newcomer tries before having a key: the sandbox API, the recorded history, the demo.

The sandbox answers as the Models API does, the history is what that API listed in 2026, and the
demo replays one through the other. Nothing in here is imported by the rest of the program.
"""
