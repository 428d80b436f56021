-- The last column of every table is the checksum of its rows (checksums.py).

-- What was generated. Texts may hold half a surrogate pair: they are written as bytes and read back by the journal.
CREATE TABLE answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, model_digest TEXT NOT NULL, strategy TEXT NOT NULL,
    sample INTEGER NOT NULL, seed TEXT NOT NULL, limits TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, prefill_tokens INTEGER NOT NULL, decode_tokens INTEGER NOT NULL,
    forward_passes INTEGER NOT NULL, peak_cache_bytes INTEGER NOT NULL, seconds REAL NOT NULL,
    length INTEGER NOT NULL, logprob REAL, repetition REAL NOT NULL,
    prompt TEXT NOT NULL, text TEXT NOT NULL, tokens BLOB NOT NULL, token_logprobs BLOB NOT NULL,
    processed_logprobs BLOB NOT NULL, checksum INTEGER NOT NULL
);
-- How sure the model was at each token, where a plan asked for it: lists of 4-byte floats, empty where nobody knows.
CREATE TABLE confidences (
    key TEXT PRIMARY KEY REFERENCES answers, entropy BLOB NOT NULL, self_certainty BLOB NOT NULL, top BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE scores (
    key TEXT NOT NULL REFERENCES answers, rule TEXT NOT NULL, task TEXT NOT NULL, item TEXT NOT NULL,
    score REAL NOT NULL, answer TEXT NOT NULL, lacks TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (key, rule)
) WITHOUT ROWID;
CREATE TABLE judge_replies (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, before TEXT NOT NULL, question TEXT NOT NULL, reply TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;

-- What plans ask for.
CREATE TABLE plans (
    digest TEXT PRIMARY KEY, plan TEXT NOT NULL, began TEXT NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE items (
    plan TEXT NOT NULL REFERENCES plans, task TEXT NOT NULL, id TEXT NOT NULL, place INTEGER NOT NULL,
    prompt TEXT NOT NULL, reference TEXT NOT NULL, rule TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (plan, task, id)
) WITHOUT ROWID;
CREATE TABLE work (
    plan TEXT NOT NULL REFERENCES plans, task TEXT NOT NULL, model TEXT NOT NULL, strategy TEXT NOT NULL,
    item TEXT NOT NULL, seed TEXT NOT NULL, sample INTEGER NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (plan, task, model, strategy, item, seed, sample)
) WITHOUT ROWID;

-- A row for each answer that a plan asks for: text and figures are NULL while it is missing, score while it has none.
CREATE VIEW planned_answers AS
SELECT w.plan, w.task, w.model, w.strategy, w.item, w.number, w.sample, w.key, i.place,
    a.prompt, a.text, a.length, a.finish_reason, a.prompt_tokens, a.decode_tokens, a.seconds, a.logprob, a.repetition,
    CASE WHEN a.strategy GLOB 'likelihood(*' THEN a.processed_logprobs END AS option_logprobs,
    s.score, s.answer AS read, s.lacks
FROM work w
LEFT JOIN items i ON i.plan = w.plan AND i.task = w.task AND i.id = w.item
LEFT JOIN answers a ON a.key = w.key
LEFT JOIN scores s ON s.key = w.key AND s.rule = i.rule;

-- What no plan asks for any more.
CREATE VIEW unplanned_scores AS
SELECT s.key, s.rule FROM scores s WHERE NOT EXISTS (
    SELECT 1 FROM work w JOIN items i ON i.plan = w.plan AND i.task = w.task AND i.id = w.item
    WHERE w.key = s.key AND i.rule = s.rule
);
CREATE VIEW unplanned_answers AS SELECT key FROM answers WHERE key NOT IN (SELECT key FROM work);
