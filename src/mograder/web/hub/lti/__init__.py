"""LTI 1.3: learning platforms that people come from, and that marks are sent to."""
