"""The abstractions everything is composed of (design, section 2).

Rows are the live hypotheses of a batch. Whatever belongs to a row (a cache, a processor's state, a
search's scores) is a value indexed by row: forking, dropping and reordering rows is one gather.
"""

from decodelab.core.protocols.checkers import AnyChecker, Reading, ReadingChecker, Verdict
from decodelab.core.protocols.models import (
    PAD,
    ByteVocab,
    Cache,
    Composed,
    Composition,
    Embeddings,
    EncoderDecoder,
    Forkable,
    HiddenStates,
    KnowsUnknown,
    LanguageModel,
    Load,
    Network,
    PrefixCaching,
    Segment,
    SpecialTokens,
    Vocab,
    WholePrompts,
)
from decodelab.core.protocols.processors import (
    Joinable,
    Observable,
    ObservesChoice,
    Processor,
    Randomised,
    TargetsSurprise,
)
from decodelab.core.protocols.rounds import Chunk, Draw, Drawn, Rounds, SearchesInRounds
from decodelab.core.protocols.scorers import AnyScorer, ModelScorer, Scorer
from decodelab.core.protocols.searches import Advance, Ahead, LooksAhead, Ranked, Rows, Search
from decodelab.core.protocols.selections import DrawsInWindows, Prepared, Question, Ranker, Reader, Selection
from decodelab.core.protocols.stops import Stop, StopState
from decodelab.core.protocols.tree_searches import Growth, Tree, TreeSearch
from decodelab.core.protocols.utilities import Aggregating, AnyUtility, Compared, ComparedWithMean, Utility

__all__ = [
    "PAD",
    "Advance",
    "Aggregating",
    "Ahead",
    "AnyChecker",
    "AnyScorer",
    "AnyUtility",
    "ByteVocab",
    "Cache",
    "Chunk",
    "Compared",
    "ComparedWithMean",
    "Composed",
    "Composition",
    "Draw",
    "Drawn",
    "DrawsInWindows",
    "Embeddings",
    "EncoderDecoder",
    "Forkable",
    "Growth",
    "HiddenStates",
    "Joinable",
    "KnowsUnknown",
    "LanguageModel",
    "Load",
    "LooksAhead",
    "ModelScorer",
    "Network",
    "Observable",
    "ObservesChoice",
    "PrefixCaching",
    "Prepared",
    "Processor",
    "Question",
    "Randomised",
    "Ranked",
    "Ranker",
    "Reader",
    "Reading",
    "ReadingChecker",
    "Rounds",
    "Rows",
    "Scorer",
    "Search",
    "SearchesInRounds",
    "Segment",
    "Selection",
    "SpecialTokens",
    "Stop",
    "StopState",
    "TargetsSurprise",
    "Tree",
    "TreeSearch",
    "Utility",
    "Verdict",
    "Vocab",
    "WholePrompts",
]
