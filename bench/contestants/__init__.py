"""Scripts that are measured beside the tool, each run by the Python of its own environment."""
