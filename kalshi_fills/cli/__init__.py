"""The command line: words to settings, one call, a report, an exit code; no rule of the trade."""
