"""The first page of a member, and the calendar of due dates."""
