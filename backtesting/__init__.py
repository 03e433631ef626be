"""The referee: arrays in, verdicts out. Imports nothing of ours, touches no file, network, clock or database."""
