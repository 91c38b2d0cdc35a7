"""An instructor's side of an assignment server: collect submissions, send pages of feedback."""
