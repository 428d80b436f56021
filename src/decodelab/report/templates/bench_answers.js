"use strict";
// What is asked of the answers. Nothing here touches the page, so all of it runs, and is tested, without one.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const NAMED = new Map([["\t", "\\t"], ["\n", "\\n"], ["\r", "\\r"]]);

// Control, format and other unseen characters as escapes, but for those to keep and for joiners, which scripts need.
function printable(text, keep = "") {
  return text.replace(UNSEEN, (unseen) => {
    if (keep.includes(unseen) || unseen === "\u200c" || unseen === "\u200d") return unseen;
    const code = unseen.codePointAt(0);
    const [letter, width] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return NAMED.get(unseen) ?? `\\${letter}${code.toString(16).padStart(width, "0")}`;
  });
}

// JSON out of gzip out of base64.
async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// Whether answered columns have different classes for an item.
function differs(classes, columns, item) {
  const found = columns.map((column) => classes[column][item]).filter((value) => value !== null);
  return found.some((value) => value !== found[0]);
}

// The numbers of the items that a view shows, before its search.
function chosen(task, view) {
  const passes = {
    all: () => true,
    answers: (item) => differs(task.answers, view.columns, item),
    scores: (item) => differs(task.scores, view.columns, item),
    texts: (item) => differs(task.texts, view.columns, item),
    lower: (item) => {
      const [a, b] = [task.scores[view.a][item], task.scores[view.b][item]];
      return a !== null && b !== null && a < b;
    },
  }[view.filter];
  return task.ids.map((_, item) => item).filter(passes);
}

// Whether an item holds a text, whatever its case: in its id, prompt, right answer, or an answer that is shown.
function holds(id, [prompt, reference, cells], columns, wanted) {
  const has = (text) => text !== null && text.toLowerCase().includes(wanted);
  return has(id) || has(prompt) || has(reference) ||
    columns.some((column) => cells[column].some(([, read, , , text]) => has(read) || has(text)));
}

// How many characters all texts begin with in common; none where they are equal or there is only one.
function shared(texts) {
  const first = texts[0];
  if (texts.every((text) => text === first)) return 0;
  let length = 0;
  while (length < first.length && texts.every((text) => text[length] === first[length])) length++;
  return /[\ud800-\udbff]/.test(first[length - 1] ?? "") ? length - 1 : length;
}
