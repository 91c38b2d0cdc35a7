"""Making releases of sources, and judging what notebooks are worth."""
