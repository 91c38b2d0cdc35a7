"""Authentication: tokens, cookies, identities and roles. Pure functions, no frameworks."""
