"""Stops: where texts end, one rule per file.

`STOPS` maps each public name to its class, as `module:Class`, so listing names imports nothing.
"""

STOPS: dict[str, str] = {
    "stop_regex": "decodelab.stops.stop_regex:StopRegex",
    "repetition_stop": "decodelab.stops.repetition_stop:RepetitionStop",
}
