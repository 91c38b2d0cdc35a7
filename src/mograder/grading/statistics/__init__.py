"""Statistics of an assignment's marks that help teaching; pure."""
