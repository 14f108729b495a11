"""A small stand-in for the exchange, on this machine only.

`account` makes up what an account holds, `exchange` serves it over HTTP the way the real API does,
`faults` breaks the answers on request. The tool itself needs none of it: demo, tests and
benchmarks do. `python -m kalshi_fills.practice` serves one from the command line.
"""
