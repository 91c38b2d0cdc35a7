"""The result of judging a submission: as a record, a row and a signed file."""
