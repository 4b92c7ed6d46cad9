"""Lithium diffusion from MACE force fields in JAX."""
