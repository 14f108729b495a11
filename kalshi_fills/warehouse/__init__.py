"""ClickHouse, embedded or a server, and the account's tables in it. No command is known here."""
