"""What nearly every feature of the hub needs; it imports none of them."""
