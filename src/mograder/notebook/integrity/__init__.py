"""Whether a student's notebook is its release but for the answers, and holds no denied code."""
