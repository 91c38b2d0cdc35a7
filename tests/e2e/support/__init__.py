"""The harness of the end-to-end tests: real hub, real browser, real front, real editor client."""
