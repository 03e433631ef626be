"""The strategy language: specs, their expressions, and the strategies that are compiled from them."""
