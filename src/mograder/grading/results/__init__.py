"""What the judging of a submission produced, as a record, a row and a signed file."""
