"""Words to settings, one call, a report, an exit code. Nothing of fills is decided here."""
