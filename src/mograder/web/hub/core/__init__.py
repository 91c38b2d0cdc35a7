"""The parts of the hub that nearly every feature needs; they import no feature."""
