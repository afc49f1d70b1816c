"""Studies: what was tried beside the product, with the figures that decided it."""
