// Corrections and marks are kept in this browser (localStorage), for this match and the sections that were found in it.

const MATCH_KEY = `videosummarizer/${match.match_id}/`;
const DRAFT_KEY = MATCH_KEY + match.sections_id; // another extraction of the match, with other sections, has another

const isAsFound = () =>
  !lookedAt.size &&
  openedUndecided === null &&
  sections.length === match.sections.length &&
  sections.every(({ start, end, isReviewed, isStarred }, index) => {
    const [foundStart, foundEnd] = match.sections[index];
    return start === foundStart && end === foundEnd && !isReviewed && !isStarred;
  });

/** Keeps the sections as they are now, for the next time that this page is opened. */
function keepDraft() {
  element.discard.disabled = isAsFound();
  const rows = sections.map(({ start, end, isReviewed, isStarred }) => [start, end, Number(!!isReviewed), Number(!!isStarred)]);
  try {
    if (isAsFound() && savedText === labelText()) localStorage.removeItem(DRAFT_KEY);
    else {
      const draft = { title: match.title, changed: Date.now(), savedText, sections: rows, lookedAt: [...lookedAt], undecided: openedUndecided };
      localStorage.setItem(DRAFT_KEY, JSON.stringify(draft));
    }
  } catch (error) {
    showNotice(`This browser does not keep your corrections (${error.message}): save the labels before you leave the page.`);
  }
}

/** Reads kept sections; the result is null where there are none, or none that fit the match. */
function readDraft(key) {
  try {
    const draft = JSON.parse(localStorage.getItem(key));
    let previousEnd = 0;
    draft.sections = draft.sections.map(([start, end, isReviewed, isStarred]) => {
      if (![start, end].every(Number.isInteger) || start < previousEnd || end <= start || end > numFrames) throw new RangeError();
      previousEnd = end;
      return { id: nextId++, start, end, isReviewed: !!isReviewed, isStarred: !!isStarred };
    });
    draft.undecided = draft.undecided ? checkedRanges(draft.undecided) : null;
    return draft;
  } catch {
    return null;
  }
}

const describeTime = ({ changed }) => new Date(changed).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Restores what was kept for this page, or offers what was kept for another extraction of the match. */
function restoreDraft() {
  const draft = readDraft(DRAFT_KEY);
  if (draft) {
    sections = draft.sections;
    if (draft.undecided) setUndecided(draft.undecided);
    lookedAt = new Set((draft.lookedAt || []).filter((index) => stretches[index]));
    savedText = draft.savedText ?? savedText;
    if (!isAsFound())
      showNotice(`Your corrections of ${describeTime(draft)} are restored.`, [["Discard corrections", discard]]);
  } else offerOtherDraft();
  element.discard.disabled = isAsFound();
}

function offerOtherDraft() {
  let keys = [];
  try {
    keys = Object.keys(localStorage).filter((key) => key.startsWith(MATCH_KEY));
  } catch {} // the browser keeps nothing
  const drafts = keys.map((key) => ({ key, ...readDraft(key) })).filter((draft) => draft.sections);
  const other = drafts.sort((a, b) => b.changed - a.changed)[0];
  if (!other) return;
  if (textOf(other.sections) === labelText()) {
    sections = other.sections; // they were cut: this page has them already, and only the marks are missing
    return;
  }
  showNotice(
    `Your corrections of ${describeTime(other)} were made on another page of this match, where other sections were found. They are not shown here.`,
    [
      ["Use them", () => change(other.sections, null, `${countSections(other.sections.length)} taken over`, other.undecided)],
      ["Delete them", () => localStorage.removeItem(other.key)],
    ]
  );
}

/** Goes back to the sections that were found. It can be undone. */
function discard() {
  change(foundSections(), null, "Corrections discarded: Undo brings them back", null);
}

addEventListener("storage", ({ key, newValue }) => {
  if (key !== DRAFT_KEY || !newValue) return;
  const draft = readDraft(DRAFT_KEY);
  if (draft && textOf(draft.sections) !== labelText())
    showNotice("The sections were changed in another window of this page.", [
      ["Show them", () => change(draft.sections, null, "Taken over from the other window", draft.undecided)],
    ]);
});

// ---- The notice below the title: one message with what can be done about it

function showNotice(text, actions = [], command = "") {
  element.notice.hidden = false;
  element.noticeText.textContent = text;
  element.command.textContent = command;
  element.command.hidden = !command;
  const buttons = [...actions, ["Close", () => {}]].map(([name, action]) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", () => {
      // The action may show the next notice, or say what it did on the button.
      const isKept = action(button);
      if (!isKept && element.noticeActions.contains(button)) element.notice.hidden = true;
    });
    return button;
  });
  element.noticeActions.replaceChildren(...buttons);
  element.notice.scrollIntoView({ block: "nearest" }); // on a phone it may be above what is in view
}
