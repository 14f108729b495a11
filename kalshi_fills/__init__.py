"""kalshi-fills: the fills of a Kalshi account in ClickHouse, each exactly once."""

__version__ = "0.2.0"
