"""Configurations of the web server in front of a hub: their values and templates.

``front`` derives and validates the values, ``nginx`` and ``caddy`` prepare them for one server,
``nginx.conf.j2`` and ``Caddyfile.j2`` are the templates.
"""
