"""The board of a class: who works on what, requests for help, and messages."""
