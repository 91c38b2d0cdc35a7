"""Configurations of the web server in front of a hub: what they need to know, and their templates.

``front`` works out and validates the values, ``nginx`` and ``caddy`` prepare them for a language,
``nginx.conf.j2`` and ``Caddyfile.j2`` are the texts.
"""
