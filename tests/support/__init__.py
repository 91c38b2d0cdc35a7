"""What several tests share: servers, courses, browsers, recordings; no test is in here."""
