"""A student's side of a course, over any transport: fetch, hand in, receipts, feedback."""
