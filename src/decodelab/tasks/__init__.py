"""Tasks: what is asked, how answers are read, and how they are scored; one task a file.

`TASKS` maps each public name to its class, as `module:Class` or, with the parameter it is made with,
`module:Class:parameter`, so listing names imports nothing.
"""

TASKS: dict[str, str] = {
    "graph": "decodelab.tasks.graph:Graph",
    "mmlu": "decodelab.tasks.mmlu:MMLU",
    "mnli": "decodelab.tasks.mnli:MNLI",
    "stories": "decodelab.tasks.stories:Stories",
    "summaries": "decodelab.tasks.summaries:Summaries",
    "jsonl": "decodelab.tasks.jsonl:JSONL",
    "maths": "decodelab.tasks.gsm8k:GSM8K",
    "code": "decodelab.tasks.humaneval:HumanEval",
    "infobench": "decodelab.tasks.infobench:InfoBench",
    "pocket-stories": "decodelab.tasks.pocket:Pocket:stories",
    "pocket-sums": "decodelab.tasks.pocket:Pocket:sums",
    "pocket-paths": "decodelab.tasks.pocket:Pocket:paths",
    "pocket-choice": "decodelab.tasks.pocket:PocketChoice:choice",
    "pocket-code": "decodelab.tasks.pocket:Pocket:code",
    "pocket-instructions": "decodelab.tasks.pocket:Pocket:instructions",
    "pocket-summaries": "decodelab.tasks.pocket:Pocket:summaries",
}
