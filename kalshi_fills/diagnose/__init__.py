"""A survey of the tables, checks, and root causes; it looks at both sides, and never writes."""
