"""`python -m kalshi_fills` is the same as `kalshi-fills`."""

from kalshi_fills.cli import main

if __name__ == "__main__":
    main()
