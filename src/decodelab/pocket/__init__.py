"""The pocket language: seven small tasks in plain Python, each a generator and a grader."""

from decodelab.pocket.item import Item, Split
from decodelab.pocket.language import TASKS, Task, task

__all__ = ["TASKS", "Item", "Split", "Task", "task"]
