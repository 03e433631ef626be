"""The package that proposes."""
