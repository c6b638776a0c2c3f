"""One module for each benchmark; ``main`` prints its tables."""
