"""How English says that something is, or is not, the answer: what stands before and after an option in a clause.

Texts are as `decodelab.core.options` prepares them: before an option in lower case, an apostrophe in a word as \\x01, a
quotation mark as \\x02. Patterns that end in `$` look at what stands before, the others at what stands after.
"""

from __future__ import annotations

import re

NEGATIVES = r"(?:not|never|neither|nor|cannot|[a-z]+n\x01t)"
FILL = (
    r"(?:[\s(\[{:,*\x02\u2014\u2013>\-]|\b(?:the|an?|option|choice|letter|answer|statement|number|alternative|item"
    r"|clearly|definitely"
    r"|most|likely|probably|therefore|thus|hence|so|indeed|actually|simply|obviously|certainly|following|that|it|is|be"
    r"|would|should|must|just|only|either|both|correct|best|one|right|final|labell?ed|marked|perhaps|maybe|possibly"
    r"|surely|still|in|fact|as|follows|going|to|of|course|my|our|with|by|listed|given|appropriate|options|choices"
    r"|answers|letters|between|namely|exactly|really|here|of)\b)"
)
ADJECTIVE = (
    r"(?:correct|right|best|true|appropriate|likely|final|suitable|accurate|closest|valid|chosen|selected|only"
    r"|plausible|my|preferred|remaining)"
)
NOUN = (
    r"(?:\b(?:answers?|ans|label|verdict|conclusion|antwort|r\u00e9ponse|respuesta|risposta|resposta)\b|\u7b54\u6848"
    r"|\b(?:choice|selection|response|prediction|decision)\b(?=\s*[:=])"
    rf"|\b{ADJECTIVE}\s+(?:\w+\s+){{0,2}}?(?:option|choice|one|response|statement|selection|letter|alternative|pick"
    rf"|match"
    r"|fit|diagnosis|explanation|term|description|relationship|relation|solution|conclusion|guess|prediction)\b)"
)
VERB = (
    r"(?:\b(?:is|are|was|be|ist|est|es|\u00e8|\u00e9|becomes|seems|appears|looks)\b|\x01s\b|\u662f|\u4e3a|[:=]|-+>"
    r"|\u2192|\u21d2|\u2014|\u2013| -)"
)
GAP = r"(?:(?!\b(?:because|since|as|while|whereas|but|although|if|when|and|is|are)\b)[^.!?,;:=\n]){0,60}?"
CUE = re.compile(
    rf"{NOUN}(?:{GAP}(?:,[^,.\n]{{1,40}},)?\s*{VERB}{FILL}{{0,30}}|[\s(\[:\x02]{{0,9}}(?:option|choice"
    rf"|letter)?[\s(\[:\x02]{{0,9}})$"
)
CHOSEN = re.compile(
    r"\b(?:choos\w*|chose|pick\w*|select\w*|go(?:ing|es)?\s+(?:with|for)|went\s+(?:with|for)|opt\w*\s+for"
    r"|settl\w+\s+(?:on|for)"
    r"|vot\w*\s+for|lean\w*\s+(?:towards?|to)|prefer\w*|my\s+guess\s+is|guess|answer\w*\s+with|i\s+say|i\x01d\s+say"
    r"|points?\s+to"
    r"|narrows?\s+(?:it\s+)?down\s+to|leav(?:es?|ing)(?:\s+(?:us|me|only))*(?:\s+with)?|i\s+(?:think"
    r"|believe)(?:\s+(?:it|that))*(?:\x01s|\s+is)?)"
    rf"{FILL}{{0,20}}$"
)
CORRECTED = re.compile(
    rf"(?:\b(?:but|rather|instead|actually|no|wait|sorry|correction|hmm|scratch that)\b|->|\u2192"
    rf"|\u21d2)[\s,:;\u2014-]*{FILL}{{0,20}}$"
)
SO = re.compile(
    rf"(?:\b(?:so|then|thus|therefore|hence|it\s+(?:is|must\s+be|has\s+to\s+be|would\s+be|should\s+be)|it\x01s|that\x01s"
    rf"|that\s+is|this\s+is|must\s+be)\b)[\s,:]*{FILL}{{0,20}}$"
)
HYPOTHETICAL = re.compile(r"\b(?:if|whether|suppose|supposing|assuming|unless|had|why|when)\b[^.!?\n,;:]*$")
NEGATED = re.compile(
    rf"(?:\b{NEGATIVES}|\b(?:except(?:\s+for)?|excluding|without|rather\s+than|instead\s+of|unlike|other\s+than"
    rf"|as\s+opposed\s+to"
    r"|rul\w+\s+out|eliminat\w+|exclud\w+|reject\w*|discard\w*|dismiss\w*|cross\w*\s+out|incorrect|wrong|false|none\s+of))"
    r"(?:[\s(\[{:\x02]|\b(?:be|been|being|the|an?|options?|choices?|answers?|letters?|is|are|it|either|both|simply"
    r"|necessarily"
    r"|likely|probably|correct|right|best|select|choose|pick|go|with|for|going|say|consider|support|to|that|just|always"
    r"|really|quite|because|think|believe|i)\b){0,20}$"
)
ADVERB = (
    r"(?:clearly|definitely|obviously|also|just|simply|certainly|probably|likely|therefore|thus|both|all|quite"
    r"|indeed|really"
    r"|more|less|the|an?|completely|totally|most|somewhat|actually|then|still|already|immediately|in)"
)
IS = (
    r"(?:is|are|was|were|seems?|appears?|looks?|would|could|can|must|should|may|might|has|have|do|does|did|be|been"
    r"|to|being|sounds?)"
)
WRONG = (
    r"(?:wrong|incorrect|false|out|ruled|eliminated|excluded|unlikely|impossible|invalid|inappropriate|irrelevant"
    r"|untrue"
    r"|distractors?|inaccurate|implausible|rejected|unrelated|\u2717|\u2718|\u274c)"
)
RIGHT = r"(?:correct|right|best|true|accurate|appropriate|answer|solution|\u2713|\u2714|\u2705)"
DENIED = re.compile(
    rf"[\s)\]}}]{{0,4}}(?:(?:options?|choices?|answers?)\s+)?(?:"
    rf"(?:\b{IS}\b\s*(?:\b{ADVERB}\b\s*){{0,4}}){{1,4}}(?:{NEGATIVES}(?!\s+only)\b|{WRONG}(?!\w))"
    rf"|(?:cannot|never|[a-z]+n\x01t)\b|not\s+(?:the\s+|an?\s+)?(?:{RIGHT}|valid|likely|plausible|possible|indicated)"
    rf"|[:.\u2013\u2014-]?\s{{0,3}}(?:(?:is|are)\s+)?{WRONG}(?!\w)|:\s{{0,3}}no\s*(?:[.;,]|$))"
)
AFFIRMED = re.compile(
    rf"[\s)\]}},]{{0,4}}(?:\b(?:{IS}|it)\b\s*){{1,4}}(?:{ADVERB}\s+){{0,3}}"
    rf"(?:(?:the\s+)?(?:\w+\s+){{0,2}}?{RIGHT}(?!\w)|the\s+(?:most|only|single)\b|my\s+(?:\w+\s+){{0,2}}?(?:answer"
    rf"|choice|pick|guess)\b|it\b)"
    rf"|[\s)\]}},]{{0,4}}(?:fits?|matches|works|applies|wins)\b(?:\s+best)?"
    rf"|[\s)\]}}]{{0,4}}[:.\u2013\u2014-]\s{{0,3}}(?:correct|right|true|yes|\u2713|\u2714|\u2705)(?!\w)"
)
ASKED = re.compile(r"[\s)\]}.\x02]{0,4}\?")
JOINED = re.compile(
    r"[\s)\]\x02]*(?:,|/|&|\+|\band\b|\bor\b|,\s*(?:and|or)\b|\band\s*/\s*or\b|\bnor\b|\bas\s+well\s+as\b|\bvs\b\.?"
    r"|\bversus\b|[-\u2013])"
    r"\s*(?:(?:maybe|perhaps|possibly|even|both|the|options?|choices?|answers?|letters?|rather)\s+)*[\s(\[\x02]*"
)
CONTRAST = re.compile(r"[\s)\]\x02]*(?:,|\s[-\u2013])[\s(\[\x02]*")
LABELS = re.compile(
    r"[ \t\x02]*[.:)\]},=\u2013\u2014-]{0,3}[ \t\x02(\[=\u2013\u2014-]{0,5}"
    r"(?:(?:i\.e\.|that is|namely|which is|aka|or)[, ]{1,3}(?:the\s+)?(?:option|choice|letter"
    r"|answer)?[ (\[:\x02]{0,4}|(?:option|choice|letter|answer)[ (\[:\x02]{1,4})?"
)
SINGULAR = re.compile(
    r"[\s)\]]*(?:is|was|has|would|can|could|will|should|seems|appears|does|isn\x01t|wasn\x01t|can\x01t|cannot)\b"
)
AFTER_LETTER = re.compile(
    r"\s*(?:$|[^\w\s]|\n|(?:because|since|as|and|or|nor|is|was|but|which|by|due|based|given|rather|instead|not|here"
    r"|for|with"
    r"|are|would|can|cannot|seems|fits|matches|in|isn\x01t|wasn\x01t|can\x01t|has|must|should|it|on|at|best|though"
    r"|however|if)\b)"
)
AFTER_ARTICLE = re.compile(
    r"[ \t]*(?:$|[^\w\s]|\n|(?:because|since|as|and|or|nor|is|was|but|which|due|based|rather|instead|isn\x01t|would"
    r"|seems|fits|matches|are|if|here)\b)"
)
AFTER_TEXT = re.compile(
    r"\s*(?:$|[^\w\s]|\n|(?:because|since|as|and|or|nor|is|was|but|which|that|by|due|based|given|rather|instead|not"
    r"|for|with|are|would"
    r"|in|isn\x01t|can|should|here)\b)"
)
BEFORE_BARE = re.compile(
    r"(?:^|[^\w\s]|\n|\b(?:options?|choices?|letters?|answers?|statement|is|are|so|thus|therefore|hence|or|and|nor"
    r"|be|with|choose|pick|select"
    r"|by|than|not|was|neither|either|both|between|say|for|but|on|to|eliminate|exclude|of|out|like|rule|reject|guess"
    r"|think|leaves|only|clearly|definitely|probably)\b)[ \t]*$"
)
SENTENCE = re.compile(r"[.!?](?=\s)|\n|[.!?]$")
