"""The functions of the language, by family; `agents.strategy.indicators` puts them together."""
