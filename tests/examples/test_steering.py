"""What the example of masks, rejection, SMC and AWRS prints is what the docs say."""

import re
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "steering.py"


def test_rejection_and_smc_come_near_the_distribution_and_the_mask_does_not(capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    rows = {
        line[:24].strip(): [float(x) for x in re.findall(r"\d\.\d{3}", line[24:])]
        for line in capsys.readouterr().out.splitlines()[1:]
    }
    distance = {name: numbers[-1] for name, numbers in rows.items()}
    # Some 1,700 accepted draws: of the distribution itself their distance is 0.02 on average, above 0.08 with p < 1e-5.
    assert distance["rejection, 10,000 tries"] < 0.08
    assert distance["smc, 8 runs of 256"] < 0.06
    assert distance["awrs, 8 runs of 256"] < 0.06
    assert distance["check, 2,000 samples"] > 0.4
    assert distance["smc, 2048 runs of 1"] > 0.8  # one particle is never steered
    assert rows["check, 2,000 samples"][-2] == 0  # nor does the mask let a bad text through
