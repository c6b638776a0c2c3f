"""Measurements of xslams: ``python -m benchmarks NAME`` prints tables.

`cases` holds truth and observations that several benchmarks share, `references` the classical methods that xslams is
compared with, and `reports` what prints the tables of the documentation.
"""
