"""Execution: what the decisions ask for in the market. Paper only."""
