"""The board: a class at work, its requests for help, and messages to its notebooks."""
