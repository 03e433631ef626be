"""Workflows: the ways in which a model is asked for one candidate; a file each."""
