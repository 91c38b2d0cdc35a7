"""The report on the quality of a source's checks: its findings, and what was done for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mograder.notebook.quality.quality_finding import QualityFinding


@dataclass(slots=True)
class QualityReport:
    """What was found in one source; it grows while the examination goes on.

    ``mutants`` are those that could be made, ``tried`` of them ran, ``noticed`` failed a check, and
    ``same`` gave the same answers as the solution, so no check can notice them. ``notes`` say what
    was not looked at, and why. ``complete`` is false until the examination has ended.
    """

    filename: str
    findings: list[QualityFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: int = 0
    mutants: int = 0
    tried: int = 0
    noticed: int = 0
    same: int = 0
    seconds: float = 0.0
    complete: bool = False

    def add(self, finding: QualityFinding) -> None:
        """Add a finding once."""
        if finding not in self.findings:
            self.findings.append(finding)

    def summary(self) -> str:
        """Return the result in a line."""
        count = len(self.findings)
        told = "clean" if not count else f"{count} finding{'s' if count > 1 else ''}"
        if not self.complete:
            told = f"not finished, {told} so far"
        parts = [told, f"{self.labels} check{'' if self.labels == 1 else 's'}"]
        if self.tried:
            same = f", {self.same} gave the same answers" if self.same else ""
            parts.append(f"{self.noticed} of {self.tried} wrong solutions noticed{same}")
        return f"{self.filename}: {'; '.join(parts)}"

    def as_data(self) -> dict[str, object]:
        """Return the report as JSON's types."""
        return {
            "file": self.filename,
            "complete": self.complete,
            "findings": [each.as_data() for each in sorted(self.findings)],
            "notes": self.notes,
            "checks": self.labels,
            "mutants": {
                "possible": self.mutants,
                "tried": self.tried,
                "noticed": self.noticed,
                "same answers": self.same,
            },
            "seconds": round(self.seconds, 1),
        }
