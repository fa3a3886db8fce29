"""What the demo verified: one table for people, the same as data for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the demo.

    Attributes:
        step: its name.
        ok: whether everything it verified was so.
        verified: what was compared with what.
        figure: the figure that was seen.
    """

    step: str
    ok: bool
    verified: str
    figure: str


@dataclass(frozen=True, slots=True)
class Report:
    """All steps, in the order they were taken."""

    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)

    def as_json(self) -> dict[str, object]:
        return {"ok": self.ok, "steps": [asdict(step) for step in self.steps]}

    def as_table(self) -> Table:
        table = Table(title="Data for Canada: the main job, end to end", show_lines=False)
        for column, share in (("step", 2), ("", 1), ("what was verified", 4), ("figure", 5)):
            table.add_column(column, overflow="fold", ratio=share if column else None)
        for s in self.steps:
            table.add_row(s.step, "[green]ok[/]" if s.ok else "[red]FAILED[/]", s.verified, s.figure)
        return table
