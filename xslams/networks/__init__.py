"""Networks that priors are made of."""
