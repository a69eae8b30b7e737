"""From an event to a receiver: message, channels, delivery."""
