"""What a fill is, and the stages from an item of JSON to a fill or a refusal.

No I/O, no SQL and no clock belong here.
"""
