"""The exchange's REST API: signed requests, pages, tiers. What a fill means is not known here."""
