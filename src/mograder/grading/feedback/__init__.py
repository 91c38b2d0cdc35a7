"""What students see of their results: the page, late penalties, and what is disclosed when."""
