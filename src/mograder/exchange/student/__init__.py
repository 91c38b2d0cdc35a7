"""A student's side of a course, over any transport: fetch, submit, receipts, feedback."""
