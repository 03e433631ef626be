"""Market data: addresses, sources, quality and snapshots. The network is touched here and nowhere else in `agents`.

Import from the modules, e.g. `from agents.data_fetch.data_fetch import fetch_bars`.
"""
