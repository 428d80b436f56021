"""A tree of hypotheses in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decodelab.analysis.search_tree import Hypotheses, Node
from decodelab.io.text import printable
from decodelab.report.number import fixed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

MARKS = {"returned": "●", "ended": "◐", "dropped": "○", "pruned": "✗"}
MEANINGS = {
    "returned": "returned",
    "ended": "finished, not returned",
    "dropped": "kept, later dropped",
    "pruned": "never kept",
}
_STYLES = {"returned": "bold", "ended": "", "dropped": "dim", "pruned": "dim italic"}


def print_tree(hypotheses: Hypotheses, console: Console) -> None:
    """Print the tree, its steps and its candidates."""
    from rich.table import Table
    from rich.text import Text

    generation = hypotheses.generation
    console.print(Text(printable(generation.strategy), style="bold"))
    if hypotheses.strategy != generation.strategy:
        console.print(Text(f"written as {printable(hypotheses.strategy)}", style="dim"))
    console.print(_tree(hypotheses))
    console.print(Text("   ".join(f"{mark} {MEANINGS[fate]}" for fate, mark in MARKS.items()), style="dim"))
    console.print(Text("Numbers: log-probability of the text so far, in nats.\n", style="dim"))

    table = Table(box=None, pad_edge=False)
    for name in ("step", "hypotheses", "continuations", "kept", "ended"):
        table.add_column(name, justify="right")
    for step in hypotheses.steps:
        table.add_row(*map(str, (step.step, step.rows, step.scored, step.kept, step.ended)))
    scored, rows = sum(s.scored for s in hypotheses.steps), sum(s.rows for s in hypotheses.steps)
    table.add_row("all", str(rows), str(scored), "", "", style="bold")
    console.print(table)
    if hypotheses.left_out:
        console.print(Text(f"{hypotheses.left_out} more nodes are not shown (--nodes)", style="dim"))


def _tree(hypotheses: Hypotheses) -> Tree:
    """The tree with chains of single tokens merged; those dropped inside a chain stand before its forks."""
    from rich.text import Text
    from rich.tree import Tree

    children = hypotheses.children()
    prompt = printable(hypotheses.generation.prompt)
    root = Tree(Text(prompt or "(empty: begins with BOS)"), guide_style="dim")
    todo = [(root, children.get(0, []))]
    while todo:
        branch, nodes = todo.pop()
        for node in nodes:
            chain, passed, forks = _chain(node, children)
            below = branch.add(_label(chain))
            for other in passed:
                below.add(_label([other], instead_at=other.step))
            todo.append((below, forks))
    return root


def _chain(node: Node, children: dict[int, list[Node]]) -> tuple[list[Node], list[Node], list[Node]]:
    """The nodes from here to the next fork, the continuations dropped inside, and the nodes after it."""
    chain, passed = [node], []
    while True:
        following = children.get(chain[-1].id, [])
        kept = [n for n in following if n.fate != "pruned"]
        fork = len(kept) != 1 or chain[-1].ended or kept[0].fate != chain[-1].fate
        if fork:
            return chain, passed, following
        passed += [n for n in following if n.fate == "pruned"]
        chain.append(kept[0])


def _label(chain: list[Node], instead_at: int | None = None) -> Text:
    """A chain on one line: its mark, text, the total of its last node, and the candidate that ends there."""
    from rich.text import Text

    last = chain[-1]
    label = Text(f"{MARKS[last.fate]} ", style=_STYLES[last.fate])
    label.append(f"'{printable(''.join(n.text for n in chain))}'")
    label.append(f"  {fixed(last.total, 2)}", style="cyan")
    if instead_at is not None:
        label.append(f"  at token {instead_at}", style="dim")
    if last.candidate is not None:
        label.append(f"  #{last.candidate}, score {last.score:.4g}", style="green")
    elif last.ended:
        label.append("  ended", style="dim")
    return label
