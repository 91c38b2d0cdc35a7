"""What an assignment server keeps in its directory besides submissions."""
