// Undecided time, which nobody has looked at: it is neither a highlight nor none, and training leaves it out. Its stretches,
// those that label_next.py chose or all of it in parts: going from one to the next, and which have been looked at.

const STRETCH_SEC = 60; // undecided time is gone through in stretches of at most this length
const areChosen = match.stretches.length > 0; // by label_next.py
const undecidedName = `${match.title}_undecided.json`;
const HATCH_PX = 8; // between two lines of undecided time
const SHOWN_BEFORE_RATIO = 0.25; // of a stretch, that is in view before it and after it

let openedUndecided = null; // the ranges of undecided time that belong to the labels that were opened, in frames
let stretches = [];
let stretchIndex = -1; // of the stretch that is shown
let lookedAt = new Set(); // indices of stretches
const foundStarts = new Set(match.sections.map(([start]) => start));
const foundEnds = new Set(match.sections.map(([, end]) => end));

/** Takes over the undecided time of labels that are opened, or null for that of the page, and what of it was looked at. */
function setUndecided(ranges, marks = new Set()) {
  openedUndecided = ranges;
  lookedAt = marks;
  stretches = areChosen ? match.stretches.map(([start, end, reason]) => ({ start, end, reason })) : divided(ranges ?? match.undecided);
  stretchIndex = stretches.length ? 0 : -1;
  showStretchBar();
}

/** Returns ranges of frames as stretches of at most STRETCH_SEC, in their order. */
function divided(ranges) {
  return ranges.flatMap(([start, end]) => {
    const length = edges[end] - edges[start];
    const numParts = Math.ceil(length / STRETCH_SEC - 1e-9);
    const borders = Array.from({ length: numParts }, (_, part) => frameFrom(edges[start] + (part * length) / numParts));
    return borders.map((first, part) => ({ start: first, end: borders[part + 1] ?? end })).filter((part) => part.start < part.end);
  });
}

/** Whether the sections and the undecided time are saved in two files. */
const hasUndecided = () => stretches.length > 0 || openedUndecided !== null;

/** Returns the ranges of frames that nobody has looked at, as the file `<title>_undecided.json` has them. */
function undecidedRanges() {
  // The frame beyond an edge that the user set is decided, too: a section that undecided time touches counts as cut there.
  const before = (start) => Math.max(0, start - 1);
  const after = (end) => Math.min(numFrames, end + 1);
  const decided = sections.filter(({ isReviewed }) => isReviewed).map(({ start, end }) => [before(start), after(end)]);
  for (const index of lookedAt) {
    const stretch = stretches[index];
    decided.push([stretch.start, stretch.end]);
    // An edge that was moved out of the stretch decides what it went over. An edge as it was found decides nothing there.
    for (const { start, end } of sections)
      if (start < stretch.end && stretch.start < end)
        decided.push([foundStarts.has(start) ? stretch.start : before(start), foundEnds.has(end) ? stretch.end : after(end)]);
  }
  return subtract(openedUndecided ?? match.undecided, decided.sort(([a], [b]) => a - b));
}

/**
 * Returns the sections of the label file: without those that were found in undecided time, and on a page with chosen
 * stretches only what of them is decided. Of a label file none is lost.
 */
function labelSections() {
  if (!stretches.length || openedUndecided || match.selected_by === "labels") return sections;
  const undecided = undecidedRanges();
  const decidedParts = ({ start, end }) => subtract([[start, end]], undecided);
  if (!areChosen) return sections.filter((section) => decidedParts(section).length);
  return sections.flatMap((section) => decidedParts(section).map(([start, end]) => ({ ...section, start, end })));
}
const undecidedText = () => (hasUndecided() ? JSON.stringify({ schema_version: 1, undecided: undecidedRanges() }) + "\n" : "");

/** Shows a stretch, and why it was chosen. */
function showStretch(index) {
  stretchIndex = index;
  const { start, end } = stretches[index];
  const margin = (edges[end] - edges[start]) * SHOWN_BEFORE_RATIO;
  pause();
  goToFrame(start);
  setView(edges[start] - margin, edges[end] + margin);
  showStretchBar();
}

/** Goes to the next stretch, the one that teaches most after the one shown, or to the one before (-1). */
function nextStretch(step = 1) {
  if (!stretches.length) return announce("All of this match is decided");
  showStretch((stretchIndex + step + stretches.length) % stretches.length);
  announce(`Stretch ${stretchIndex + 1} of ${stretches.length}`);
}

/** Marks the stretch that is shown as looked at, or takes the mark away. What it shows as sections are then its labels. */
function toggleLookedAt() {
  if (!stretches.length) return announce("All of this match is decided");
  const isMarked = !lookedAt.has(stretchIndex);
  lookedAt = new Set(lookedAt);
  if (isMarked) lookedAt.add(stretchIndex);
  else lookedAt.delete(stretchIndex);
  announce(`Stretch ${stretchIndex + 1} is ${isMarked ? "looked at" : "undecided again"}`);
  keepDraft();
  showStretchBar();
}

function showStretchBar() {
  element.stretchBar.hidden = element.undecidedLegend.hidden = !stretches.length;
  element.stretchLegend.hidden = !areChosen;
  if (!stretches.length) return;
  const { start, end, reason } = stretches[stretchIndex];
  element.nextStretch.textContent = areChosen ? "Next most doubtful" : "Next undecided";
  element.lookedAt.setAttribute("aria-pressed", lookedAt.has(stretchIndex));
  element.lookedAt.textContent = lookedAt.has(stretchIndex) ? "\u2611 Looked at" : "\u2610 Looked at";
  element.stretchText.textContent =
    `Stretch ${stretchIndex + 1} of ${stretches.length}, ${preciseTime(edges[start])} – ${preciseTime(edges[end])}; ` +
    `${lookedAt.size} looked at${areChosen ? `. Chosen because ${reason}` : ""}`;
  changed = true;
}

/** Draws the chosen stretches in the lane of labels: full where they have been looked at, else their outlines. */
function drawStretches(context, width, [top, bottom]) {
  if (!areChosen) return; // the lane has the labels from before
  stretches.forEach(({ start, end }, index) => {
    const [left, right] = [toX(edges[start], width), toX(edges[end], width)];
    context.fillStyle = context.strokeStyle = colors.labelled;
    context.lineWidth = 1.5;
    if (lookedAt.has(index)) context.fillRect(left, top, Math.max(2, right - left), bottom - top);
    else context.strokeRect(left + 0.75, top + 0.75, Math.max(1, right - left - 1.5), bottom - top - 1.5);
  });
}

/** Hatches undecided time. */
function drawUndecided(context, toPixel, [top, bottom]) {
  context.strokeStyle = colors.muted;
  for (const [start, end] of undecidedRanges()) {
    const [left, right] = [toPixel(edges[start]), toPixel(edges[end])].map((x) => Math.max(-20, Math.min(x, context.canvas.clientWidth + 20)));
    if (left >= right) continue;
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    context.globalAlpha = 0.4;
    context.lineWidth = 1;
    context.beginPath();
    const height = bottom - top;
    for (let x = Math.floor((left - height) / HATCH_PX) * HATCH_PX; x < right; x += HATCH_PX) {
      context.moveTo(x, bottom);
      context.lineTo(x + height, top);
    }
    context.stroke();
    context.restore();
  }
}

/** Opens the page at the stretch that teaches most and has not been looked at. */
function openStretches() {
  const first = stretches.findIndex((_, index) => !lookedAt.has(index));
  if (stretches.length) showStretch(Math.max(0, first));
  showStretchBar();
}

/**
 * Saves the label file and the undecided time of a page with stretches, into the match's folder or as downloads. The
 * undecided time comes first: a label file alone would make "no highlight" of time that nobody has looked at.
 */
async function saveStretches() {
  const [first] = undecidedRanges();
  if (first && first[0] === 0 && first[1] === numFrames)
    return showNotice("No stretch is marked as looked at: nothing is saved. Correct the sections of a stretch, and press V.");
  const chosen = labelSections();
  const files = [[undecidedName, undecidedText()], [match.labels_name, textOf(chosen)]];
  let isWritten = false;
  if (window.showDirectoryPicker) {
    try {
      const folder = await showDirectoryPicker({ id: "labels", mode: "readwrite" });
      for (const [name, text] of files) {
        const handle = await folder.getFileHandle(name, { create: true });
        const file = await handle.createWritable();
        await file.write(text);
        await file.close();
      }
      isWritten = true;
    } catch (error) {
      if (error.name === "AbortError") return announce("Not saved");
      if (error.name !== "SecurityError")
        return showNotice(`The labels could not be written (${error.message}): save them again in another folder.`);
    }
  }
  const finish = () => {
    savedText = labelText();
    keepDraft();
    const count = countSections(chosen.length);
    const what = stretches.length ? `the labels of ${lookedAt.size} of ${stretches.length} stretches (${count})` : count;
    const done = `${isWritten ? "Saved" : "Downloaded"} ${what}`;
    announce(done);
    const text =
      `${done} as ${match.labels_name} and ${undecidedName}. Both belong next to the match, in ${match.command.labels_dir || "its folder"}: ` +
      "all time that was not looked at is undecided, and training leaves it out.";
    if (areChosen) showNotice(text); // nothing has been cut yet
    else
      showNotice(
        `${text} To cut from them, run this where highlight_extractor.py ran:`,
        [["Copy the command", copyCommand]],
        cutCommand(match.command.labels_dir + match.labels_name, match.command.output_dir)
      );
    return true; // this notice stays
  };
  if (isWritten) return finish();
  // Browsers let a click download one file.
  download(undecidedText(), undecidedName);
  const downloadLabels = () => {
    download(textOf(chosen), match.labels_name);
    return finish();
  };
  showNotice(`Downloaded the undecided time as ${undecidedName}. The labels are a second file.`, [["Download the labels", downloadLabels]]);
}
