"""The lecture's example: what it prints is what the tree says."""

import re
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "beam_misses_best.py"


def test_two_beams_miss_what_three_find(capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"best first:\n  B A A  0\.2280\n  A B A  0\.1728\n", printed)
    one, two, three = re.findall(r"finds (.*) with (.*), (.*) nats below the best", printed)
    assert one == ("A A A", "0.1716", "0.2842")
    assert two == ("A B A", "0.1728", "0.2772")
    assert three == ("B A A", "0.2280", "0.0000")
    assert "step 2: A A 0.3120, A B 0.2880\n" in printed
    assert "looked at 10 continuations; T k M = 3 x 2 x 2 = 12" in printed
    assert "exact finds B A A with 0.2280" in printed
