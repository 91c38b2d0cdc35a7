"""``mograder extension``: later due dates, exemptions and policies for late work."""
