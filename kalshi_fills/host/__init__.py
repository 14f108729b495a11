"""What the tool needs of the machine it runs on: files, locks, streams, signals, safe printing.

Nothing here knows of fills, of the exchange or of ClickHouse.
"""
