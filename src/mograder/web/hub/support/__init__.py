"""Used by the handlers and the proxy: services, access, responses, the audit log, metrics.

It imports neither of them.
"""
