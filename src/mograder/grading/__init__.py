"""Making releases of sources, and judging what notebooks hold."""
