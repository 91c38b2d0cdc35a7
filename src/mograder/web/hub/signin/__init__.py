"""Signing in and out: by tokens, links, and a provider of OpenID Connect."""
