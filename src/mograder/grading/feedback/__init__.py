"""Results as students see them: the page, late penalties, and the disclosure of hidden tests."""
