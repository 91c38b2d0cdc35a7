"""Late work: due dates, extensions, policies, and the deductions that follow from them."""
