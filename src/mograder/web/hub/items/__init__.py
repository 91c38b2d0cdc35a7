"""The course's items: publishing, warming and grading them, and their pages."""
