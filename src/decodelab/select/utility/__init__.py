"""Utilities for minimum Bayes risk: how well one text serves where another would have been right, one a file.

`UTILITIES` maps each public name to where it is, as `module:Name`, so listing names imports nothing.
"""

UTILITIES: dict[str, str] = {
    "chrf": "decodelab.select.utility.chrf:ChrF",
    "bleu": "decodelab.select.utility.bleu:SentenceBleu",
    "rouge_l": "decodelab.select.utility.sequences:RougeL",
    "edit": "decodelab.select.utility.sequences:Edit",
    "exact": "decodelab.select.utility.exact:Exact",
}
