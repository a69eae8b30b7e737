"""The published site: page, data files, feed and calendar."""
