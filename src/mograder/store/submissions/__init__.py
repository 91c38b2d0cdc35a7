"""What was handed in: each user's files, and the one that counts."""
