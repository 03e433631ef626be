"""Agents: strategies that are judged, and trade. A strategy is data in a small typed language, never code.

An agent may use a language model for words, never for the decision to promote.
"""
