"""Files of MACE models with gated blocks: upstream's and our own."""
