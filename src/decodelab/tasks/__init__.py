"""Tasks: what is asked, how answers are read, and how they are scored; one task a file.

`TASKS` maps each public name to its class, as `module:Class`, so that listing names imports nothing.
"""

TASKS: dict[str, str] = {
    "graph": "decodelab.tasks.graph:Graph",
    "mmlu": "decodelab.tasks.mmlu:MMLU",
}
