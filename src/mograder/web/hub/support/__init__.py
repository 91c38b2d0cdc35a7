"""What handlers and the proxy need: services, who may do what, answers, the audit log, metrics.

It uses neither of them.
"""
