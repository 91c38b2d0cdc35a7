"""Making releases of source notebooks, and validating students' notebooks."""
