"""A check of the checks: what an author's checks do not notice, and what they depend on."""
