"""Measurements of xslams: ``python -m benchmarks NAME`` prints a table."""
