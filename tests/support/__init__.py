"""What several test modules build on: engines, the practice exchange, tables, made-up fills."""
