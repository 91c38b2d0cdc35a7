"""Who is asking: tokens, cookies, identities, roles. Pure functions, no frameworks."""
