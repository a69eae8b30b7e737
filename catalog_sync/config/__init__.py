"""Configuration: settings, credentials, schedules."""
