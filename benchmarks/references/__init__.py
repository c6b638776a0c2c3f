"""Methods to compare with: optimal interpolation and classical filters."""
