"""Helpers that several tests share: servers, courses, browsers, recordings. No tests."""
