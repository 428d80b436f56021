"""`score`: how probable a model finds given text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from decodelab.core.errors import InvalidParameter, NonFiniteLogits, PromptTooLong, RequestError, UnsupportedStrategy
from decodelab.core.protocols import PAD, EncoderDecoder, LanguageModel, Network
from decodelab.core.values import Prompt, Tokens
from decodelab.engine.failures import check_shape
from decodelab.engine.job import checked_ids, encode_prompt
from decodelab.engine.prompt_notes import PromptNotes
from decodelab.metrics.likelihood import Alternative, Score
from decodelab.models.composed import needs_whole_prompts
from decodelab.models.loading import load

if TYPE_CHECKING:
    from torch import Tensor

Report = Callable[[int, int], None]
"""Told how many tokens are scored, and of how many."""

_POSITIONS = 1_024
"""Positions of a batch, padding included, on a CPU: four times as many took a third longer with pocket-small."""
_POSITIONS_ON_ACCELERATOR = 65_536
"""The same elsewhere, where small batches leave most of the device idle; not measured."""
_FULL = 0.75
"""Share of a prefill that is not padding, at least."""
_LOGITS = 1 << 25
"""Logits of one extension, in numbers: 128 MiB in float32."""
_BLOCK = 1 << 19
"""Logits normalised and ranked at once on a CPU: two megabytes stay in its cache, which is five times as fast."""
_RAGGED = 32
"""Tokens by which completions of different lengths are extended at once; no row is padded by more."""


def score(
    model: LanguageModel | str,
    prompt: Prompt,
    completion: str | Sequence[int],
    *,
    stride: int | None = None,
    alternatives: int = 0,
) -> Score:
    """The log-probability of a completion after a prompt, token by token.

    Args:
        model: a model, or the name of one for `load`.
        prompt: text, token ids or a chat; empty text starts from BOS.
        completion: text or token ids; must have at least one token.
        stride: where prompt and completion exceed the context length, score in windows this many tokens apart,
            see `windows`; None raises an error.
        alternatives: how many of the most probable tokens to give for each place.

    Raises:
        RequestError: if the completion is empty.
        UnknownToken: if a token id is outside the vocabulary.
        PromptTooLong: if prompt and completion do not fit the context and there is no stride.
        InvalidParameter: if stride or alternatives are out of range.
        NonFiniteLogits: if the model returns NaN or infinities.

    Warns:
        PromptWarning: where the tokenizer reads a text in another way than it may be meant.

    >>> import decodelab as dl
    >>> table = {(): {"a": 0.5, "b": 0.5}, ("a",): {"b": 0.25, "</s>": 0.75}}
    >>> found = dl.score(dl.TableModel(["a", "b"], table, bos="<s>"), "", "a b")
    >>> round(found.logprob, 4), found.ranks
    (-2.0794, (1, 2))
    """
    lm = load(model) if isinstance(model, str) else model
    return score_many(lm, [(prompt, completion)], stride=stride, alternatives=alternatives)[0]


def score_many(
    model: LanguageModel,
    pairs: Sequence[tuple[Prompt, str | Sequence[int]]],
    *,
    max_rows: int = 64,
    stride: int | None = None,
    alternatives: int = 0,
    report: Report | None = None,
) -> list[Score]:
    """Score many (prompt, completion) pairs in packed batches; see `score`.

    Completions of one prompt share its prefill, and completions of any lengths share a batch.

    Args:
        model: a model.
        pairs: what to score.
        max_rows: completions computed at once, at most; bounds the memory and changes no result.
        stride: tokens a window goes further where a pair exceeds the context.
        alternatives: how many of the most probable tokens to give for each place.
        report: called after each step with the progress.

    >>> import decodelab as dl
    >>> coin = dl.TableModel(["H", "T"], {...: {"H": 0.25, "T": 0.75}}, bos="<s>")
    >>> [round(s.perplexity, 3) for s in score_many(coin, [("", "H"), ("", "T T"), ("T", "H T")])]
    [4.0, 1.333, 2.309]
    """
    found = dict(score_each(model, pairs, max_rows=max_rows, stride=stride, alternatives=alternatives, report=report))
    return [found[i] for i in range(len(pairs))]


def score_each(
    model: LanguageModel,
    pairs: Sequence[tuple[Prompt, str | Sequence[int]]],
    *,
    max_rows: int = 64,
    stride: int | None = None,
    alternatives: int = 0,
    report: Report | None = None,
) -> Iterator[tuple[int, Score]]:
    """Yield the index and score of each pair when it is done, the longest first; see `score_many`.

    Everything is checked before the first is computed.
    """
    if max_rows < 1:
        raise InvalidParameter(f"max_rows must be at least 1, got {max_rows}; use 1 for one completion at a time")
    if not 0 <= alternatives <= model.vocab.size:
        raise InvalidParameter(f"alternatives must be in [0, {model.vocab.size}], got {alternatives}; use 0 for none")
    items = _items(model, pairs)
    spans = [span for i, item in enumerate(items) for span in _spans(model, i, item, stride)]
    return _scored(model, items, spans, max_rows, alternatives, report)


class Window(NamedTuple):
    """A stretch of a sequence that is fed to the model at once: [start, end - 1), to score the tokens [first, end)."""

    start: int
    first: int
    end: int


def windows(given: int, total: int, context: int | None, stride: int | None) -> Iterator[Window]:
    """Cut a sequence that exceeds the context into overlapping windows in which each new token is scored once.

    The first window scores as many tokens as the context holds. Each further one scores the next `stride` tokens (the
    last one what remains) and is filled up with the tokens before them, so that every token sees all that precedes it,
    or at least `context - stride + 1` tokens of it. With stride = context, windows do not overlap.

    Args:
        given: tokens at the start that are not scored, at least 1.
        total: tokens in all.
        context: tokens a model can be fed, or None when unbounded; the last token of a window is not fed.
        stride: tokens each window goes further, in [1, context].

    Raises:
        InvalidParameter: if the stride is out of range.
        PromptTooLong: if the sequence exceeds the context and there is no stride.

    Source: the rolling windows of lm-evaluation-harness (`get_rolling_token_windows`), whose `context_len` is
    context - stride + 1. The windows of transformers' page on perplexity predict one token less each, and the last one
    is not filled up.

    >>> list(windows(1, 8, 4, 2))
    [Window(start=0, first=1, end=5), Window(start=2, first=5, end=7), Window(start=3, first=7, end=8)]
    """
    if stride is not None and not 1 <= stride <= (context or stride):
        raise InvalidParameter(
            f"stride must be in [1, {context or 'any'}], the context length, got {stride}; half of it is usual"
        )
    if context is None or total <= context + 1:
        yield Window(0, given, total)
        return
    if stride is None:
        raise PromptTooLong(
            f"prompt and completion have {total} tokens, the context length is {context}; "
            f"shorten them, or give a stride, such as {max(1, context // 2)}, to score in overlapping windows"
        )
    first = given
    while first < total:
        end = min(first + stride if first > context or first > given else context + 1, total)
        yield Window(max(0, end - 1 - context), first, end)
        first = end


class _Item(NamedTuple):
    """A pair as text and tokens."""

    prompt: str
    given: Tokens
    completion: str
    target: Tokens


@dataclass(frozen=True)
class _Span:
    """Tokens of one item to be scored in one pass, and what precedes them there."""

    item: int
    offset: int
    given: Tokens
    target: Tokens


class _Places(NamedTuple):
    """Log-probabilities and ranks of tokens in their places, [n] each; the best tokens there, [n, alternatives]."""

    logprobs: Tensor
    ranks: Tensor
    best: Tensor
    best_logprobs: Tensor


def _items(model: LanguageModel, pairs: Sequence[tuple[Prompt, str | Sequence[int]]]) -> list[_Item]:
    """The pairs in tokens; a prompt of several pairs is encoded once."""
    # An id is unique only while its object lives, so the object is kept too.
    known: dict[str | int, tuple[Prompt, str, Tokens]] = {}
    items: list[_Item] = []
    notes = PromptNotes(model)
    for i, (prompt, completion) in enumerate(pairs):
        key = prompt if isinstance(prompt, str) else id(prompt)
        if key not in known:
            known[key] = (prompt, *encode_prompt(model, prompt))
            if isinstance(prompt, str):
                notes.see(f"prompt {i}", prompt, known[key][2])
        _, text, given = known[key]
        before = model.begin if isinstance(model, EncoderDecoder) else given
        if isinstance(completion, str):
            words, target = completion, model.vocab.encode_completion(before, completion)
            notes.see(f"completion {i}", completion, target)
        else:
            target = checked_ids(model.vocab.size, completion, "completion")
            words = model.vocab.decode_completion(before, target)
        if not target:
            where = f"pair {i}: " if len(pairs) > 1 else ""
            raise RequestError(f"{where}completion {words!r} has no tokens to score; give at least one")
        items.append(_Item(text, given, words, target))
    notes.tell()
    return items


def _spans(model: LanguageModel, index: int, item: _Item, stride: int | None) -> list[_Span]:
    """What must be computed for an item: the whole, or its windows."""
    whole = item.given + item.target
    given = len(item.given)
    try:
        cut = list(windows(given, len(whole), model.context_length, stride))
    except PromptTooLong as error:
        raise PromptTooLong(f"{model.name}: {error}") from None
    if len(cut) > 1 and needs_whole_prompts(model):
        raise UnsupportedStrategy(f"{model.name}: needs the whole prompt in every window; score without stride")
    return [_Span(index, w.first - given, whole[w.start : w.first], whole[w.first : w.end]) for w in cut]


def _scored(
    model: LanguageModel,
    items: Sequence[_Item],
    spans: Sequence[_Span],
    max_rows: int,
    alternatives: int,
    report: Report | None,
) -> Iterator[tuple[int, Score]]:
    """Compute all spans and yield each item when its last one is done."""
    text = functools.cache(model.vocab.token_text)
    missing = [0] * len(items)
    for span in spans:
        missing[span.item] += 1
    parts: dict[int, dict[int, _Places]] = {}
    done, total = 0, sum(len(span.target) for span in spans)
    for batch in _batches(spans, max_rows, _positions(model), model.context_length):
        for span, places in _computed(model, batch, alternatives):
            parts.setdefault(span.item, {})[span.offset] = places
            missing[span.item] -= 1
            if not missing[span.item]:
                yield span.item, _score(items[span.item], parts.pop(span.item), text)
            done += len(span.target)
        if report is not None:
            report(done, total)


def _positions(model: LanguageModel) -> int:
    """How many positions a batch may have on the device of the model, where it is known."""
    on_cpu = not isinstance(model, Network) or model.device.type == "cpu"
    return _POSITIONS if on_cpu else _POSITIONS_ON_ACCELERATOR


def _batches(spans: Sequence[_Span], max_rows: int, positions: int, context: int | None) -> Iterator[list[list[_Span]]]:
    """Group spans by their prefix, and groups of similar length into batches, the longest first.

    A prefix is shared where it is at least as long as what follows; otherwise it is computed for each span, because
    attention over shared prefixes is made for few new tokens a row.
    """
    groups: dict[Tokens, list[_Span]] = {}
    for span in spans:
        groups.setdefault(span.given, []).append(span)
    shared: list[list[_Span]] = []
    alone: list[list[_Span]] = []
    for group in groups.values():
        group.sort(key=lambda span: len(span.target), reverse=True)
        longest = len(group[0].target)
        if longest == 1 or (len(group) > 1 and len(group[0].given) >= longest):
            shared += [group[i : i + max_rows] for i in range(0, len(group), max_rows)]
        else:
            alone += [[span] for span in group]
    for some in (alone, shared):
        some.sort(key=lambda group: (len(group[0].given), len(group[0].target)), reverse=True)
        batch: list[list[_Span]] = []
        for group in some:
            if batch and not _fits([*batch, group], max_rows, positions, context):
                yield batch
                batch = []
            batch.append(group)
        if batch:
            yield batch


def _fits(batch: Sequence[Sequence[_Span]], max_rows: int, positions: int, context: int | None) -> bool:
    """Whether groups fit one batch: bounded in size, little padding in its prefill, decoded in one pass."""
    given = [len(group[0].given) for group in batch]
    longest = max(len(group[0].target) for group in batch)
    rows = sum(map(len, batch))
    return (
        rows <= max_rows
        and len(batch) * max(given) + rows * longest <= positions
        and sum(given) >= _FULL * len(batch) * max(given)
        and (context is None or max(given) + longest <= context + 1)
    )


def _computed(
    model: LanguageModel, batch: Sequence[Sequence[_Span]], alternatives: int
) -> Iterator[tuple[_Span, _Places]]:
    """Prefill the common prefix of each group once, fork it for its spans, and decode all of them together."""
    logits, cache = model.prefill([group[0].given for group in batch])
    spans = [span for group in batch for span in group]
    prompts = torch.tensor([i for i, group in enumerate(batch) for _ in group])
    first = torch.tensor([span.target[0] for span in spans])
    found = [[place] for place in _split(_measured(model, logits[prompts], first, alternatives), [1] * len(spans))]
    live = [i for i, span in enumerate(spans) if len(span.target) > 1]
    if live:
        cache = cache.select(prompts[live])
    fed = 0
    while live:
        rows = [spans[i] for i in live]
        left = [len(span.target) - 1 - fed for span in rows]
        count = min(max(left), max(min(left), _RAGGED), max(1, _LOGITS // (len(live) * model.vocab.size)))
        counts = [min(n, count) for n in left]
        tokens = torch.full((len(live), count), PAD)
        for row, (span, n) in enumerate(zip(rows, counts, strict=True)):
            tokens[row, :n] = torch.tensor(span.target[fed : fed + n])
        logits, cache = model.decode(cache, tokens)
        own = tokens != PAD
        logits = logits.flatten(0, 1) if bool(own.all()) else logits[own.to(logits.device)]
        after = [token for span, n in zip(rows, counts, strict=True) for token in span.target[fed + 1 : fed + n + 1]]
        places = _measured(model, logits, torch.tensor(after), alternatives)
        for i, part in zip(live, _split(places, counts), strict=True):
            found[i].append(part)
        fed += count
        going = [row for row, n in enumerate(left) if n > count]
        if going and len(going) < len(live):
            cache = cache.select(torch.tensor(going))
        live = [live[row] for row in going]
    for span, parts in zip(spans, found, strict=True):
        yield span, _joined(parts)


def _measured(model: LanguageModel, logits: Tensor, tokens: Tensor, alternatives: int) -> _Places:
    """Log-probabilities and ranks of int64 tokens [n] under logits [n, vocab], and the most probable tokens."""
    check_shape(model.name, logits, len(tokens), model.vocab.size)
    size = max(1, _BLOCK // logits.shape[-1]) if logits.device.type == "cpu" else len(logits)
    column = tokens.to(logits.device)[:, None]
    found = _joined(
        [_places(*block, alternatives) for block in zip(logits.split(size), column.split(size), strict=True)]
    )
    if bool(found.logprobs.isnan().any()):
        raise NonFiniteLogits(f"{model.name} returned NaN, +inf or only -inf as logits; check the weights")
    return _Places(*(field.cpu() for field in found))


def _places(logits: Tensor, column: Tensor, alternatives: int) -> _Places:
    """The same for a block, the tokens as [n, 1]; log-probabilities are NaN where the logits are no distribution."""
    logits = logits.float()
    logprobs = logits.log_softmax(-1)
    chosen = logits.gather(-1, column)
    ranks = 1 + torch.count_nonzero(logits > chosen, -1)
    tied = (torch.count_nonzero(logits >= chosen, -1) > ranks).nonzero()[:, 0]
    if len(tied):
        before = torch.arange(logits.shape[-1], device=logits.device) < column[tied]
        ranks[tied] += ((logits[tied] == chosen[tied]) & before).sum(-1)
    best = logits.argsort(descending=True, stable=True)[:, :alternatives] if alternatives else column[:, :0]
    return _Places(logprobs.gather(-1, column)[:, 0].double(), ranks, best, logprobs.gather(-1, best).double())


def _split(places: _Places, counts: list[int]) -> list[_Places]:
    """The places of each of several spans that were measured together."""
    return [_Places(*part) for part in zip(*(field.split(counts) for field in places), strict=True)]


def _joined(parts: Sequence[_Places]) -> _Places:
    return parts[0] if len(parts) == 1 else _Places(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _score(item: _Item, parts: dict[int, _Places], text: Callable[[int], str]) -> Score:
    """The score of an item from the places of its spans, by offset."""
    places = _joined([parts[offset] for offset in sorted(parts)])
    alternatives = tuple(
        tuple(Alternative(t, text(t), p) for t, p in zip(tokens, logprobs, strict=True))
        for tokens, logprobs in zip(places.best.tolist(), places.best_logprobs.tolist(), strict=True)
    )
    return Score(
        item.target,
        tuple(map(text, item.target)),
        tuple(places.logprobs.tolist()),
        ranks=tuple(places.ranks.tolist()),
        alternatives=alternatives if places.best.shape[1] else (),
        prompt=item.prompt,
        completion=item.completion,
    )
