"""Speed and memory as ratios, measured side by side in one run; see docs/performance.md.

What is measured runs in processes of its own: the tool, its competitors, the exchange, the server.
Nothing here is imported by the package or by a test.
"""
