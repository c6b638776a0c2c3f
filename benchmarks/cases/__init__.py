"""Cases that several benchmarks share: truth, observations, and how they are split."""
