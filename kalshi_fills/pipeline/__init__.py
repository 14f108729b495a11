"""What a fill is, and the stages from an item to a fill or a refusal: no I/O, no SQL, no clock."""
