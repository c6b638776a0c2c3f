"""What data say of themselves: coordinates, grids, variables, units, and how they meet a model."""
