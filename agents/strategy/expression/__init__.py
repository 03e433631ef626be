"""Expressions: rules as text in Python's syntax, read by our own walker into typed, causal, bounded trees."""
