"""The exchange's REST API: signed requests, walks through listings, the two tiers of fills.

Items are passed on as they came: what makes one a fill is not known here, but for its time.
"""
