"""Tables of success rates in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forehand.evaluation.rates import probe_cells
from forehand.evaluation.results import Evaluation


def headline(evaluation: Evaluation) -> str:
    """The main metric: the success rate; for chains the average number in a row; without success the mean return."""
    if evaluation.returns and not evaluation.total.n:
        everything = evaluation.returns[-1]
        return f"return {everything.mean:.2f} {everything.interval or ''}".rstrip()
    if evaluation.length == 1:
        return f"success {evaluation.total.rate:.2f} {evaluation.total.interval}"
    return f"average length {evaluation.average_length:.2f} {evaluation.average_interval} of {evaluation.length}"


def print_table(evaluation: Evaluation) -> None:
    """Print success rates and returns per task; for chains the success of 1, 2, … instructions in a row, and probes."""
    if evaluation.length > 1:
        chains = Table("in a row", "n", "successes", "rate", "95 % interval", box=None)
        for link in evaluation.chains:
            chains.add_row(str(link.length), str(link.n), str(link.successes), f"{link.rate:.2f}", str(link.interval))
        Console().print(chains)
    if evaluation.length > 1 or evaluation.probes:
        probes = Table("probe", "n", "average length" if evaluation.length > 1 else "rate", "95 % interval", box=None)
        for cells in probe_cells(evaluation.metric(), evaluation.probed):
            probes.add_row(*map(escape, cells))
        Console().print(probes)
    if evaluation.total.n or not evaluation.returns:
        table = Table("task", "n", "successes", "rate", "95 % interval", box=None)
        for row in [*evaluation.tasks, evaluation.total]:
            if row.task == "all":
                table.add_section()
            table.add_row(row.task, str(row.n), str(row.successes), f"{row.rate:.2f}", str(row.interval))
        Console().print(table)
    if evaluation.returns:
        table = Table("task", "n", "mean return", "95 % interval", box=None)
        for mean in evaluation.returns:
            table.add_row(mean.task, str(mean.n), f"{mean.mean:.2f}", str(mean.interval or "–"))
        Console().print(table)
    for note in evaluation.notes:
        print(note)
    print(f"{headline(evaluation)} n={len(evaluation.lengths)}")
