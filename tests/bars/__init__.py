"""Benchmarks of the measuring itself. Not unit tests: they take minutes, and say what they found on which machine."""
