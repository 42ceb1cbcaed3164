// Label files: their text, and how the page reads them, as videosummarizer/labels.py does.

const MAX_LABEL_BYTES = 2 ** 20;
const MAX_FRAME_TIME_MISMATCH_SEC = 1;
const LABEL_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const LABEL_LINE_ENDS = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

/** Returns sections as a label file: start_frame,end_frame,start_time,end_time on each line. */
function textOf(someSections) {
  return someSections.map(({ start, end }) => `${start},${end},${clockTime(edges[start])},${clockTime(edges[end])}\n`).join("");
}
/** Returns what a saved label file would hold, and its undecided time if that is saved, too. */
const labelText = () => textOf(labelSections()) + undecidedText();

/** Returns a text without the spaces around it that Python's str.strip removes, which are not those of trim. */
function stripped(text) {
  let [first, end] = [0, text.length];
  while (first < end && LABEL_SPACE.test(text[first])) first++;
  while (end > first && LABEL_SPACE.test(text[end - 1])) end--;
  return text.slice(first, end);
}

/** Returns the seconds of HH:MM:SS[.fff], MM:SS[.fff] or SS[.fff], null for any other text. */
function parseTime(text) {
  const found = /^(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)$/.exec(text);
  if (!found) return null;
  const [hours, minutes, seconds] = found.slice(1).map((part) => Number(part || 0));
  if ((found[2] && seconds >= 60) || (found[1] && minutes >= 60)) return null;
  const time = hours * 3600 + minutes * 60 + seconds;
  return Number.isFinite(time) ? time : null;
}
const parseFrame = (text) => (/^\d{1,4300}$/.test(text) ? Number(text) : null);
const isTimeText = (text) => /[:.]/.test(text);

/** Returns the first frame that begins at a time or after it. */
function frameFrom(seconds) {
  const frame = frameAt(seconds);
  return edges[frame] >= seconds - 2e-6 ? frame : frame + 1;
}

/** Reads one line of a label file: {start, end, warning}, in frames. Throws an Error that says what is wrong. */
function parseLabelLine(line) {
  const fields = line.split(",").map(stripped);
  if (fields.every((field) => /\p{L}{2,}/u.test(field)))
    throw new Error(`received a header or text (${stripped(line).slice(0, 60)}), expected a section: delete the line`);
  if (fields.length !== 2 && fields.length !== 4)
    throw new Error(`received ${fields.length} column${fields.length === 1 ? "" : "s"}, expected 4 (start_frame,end_frame,start_time,end_time) or 2 (start,end)`);
  const read = (field, isTime) => {
    const value = isTime ? parseTime(field) : parseFrame(field);
    const expected = isTime ? "a time such as 00:00:16" : "a frame number such as 589";
    if (value === null) throw new Error(`received ${field.slice(0, 60) || "nothing"}, expected ${expected}`);
    return value;
  };
  const hasTimes = fields.length === 2 && fields.some(isTimeText);
  if (hasTimes && !fields.every(isTimeText))
    throw new Error(`received ${fields.join(",")}, expected two times (with a colon or a point) or two frame numbers`);
  const [start, end] = fields.slice(0, 2).map((field) => read(field, hasTimes));
  if (end <= start) throw new Error(`received a section from ${fields[0]} to ${fields[1]}, expected its end after its start`);
  const limit = hasTimes ? edges[numFrames] : numFrames;
  if (start >= limit)
    throw new Error(
      `the section begins at ${fields[0]}, after the match's end (${numFrames} frames, ${preciseTime(edges[numFrames])}), ` +
        "expected a file of this match"
    );
  const warning = end > limit + (hasTimes ? 2e-6 : 0) ? "ends after the match: clipped" : null;
  if (hasTimes) {
    const [first, after] = [frameFrom(start), frameFrom(Math.min(end, limit))];
    // Between two frame beginnings it is the frame shown at its start.
    return first < after ? { start: first, end: after, warning } : { start: frameAt(start), end: frameAt(start) + 1, warning };
  }
  const placed = { start, end: Math.min(end, numFrames), warning };
  if (fields.length === 4) {
    const [startSec, endSec] = fields.slice(2).map((field) => read(field, true));
    const apart = Math.max(Math.abs(edges[placed.start] - startSec), Math.abs(edges[placed.end] - Math.min(endSec, edges[numFrames])));
    if (apart > MAX_FRAME_TIME_MISMATCH_SEC)
      placed.warning ??= `its frames and its times differ by ${apart.toFixed(1)} s: the frames are used`;
  }
  return placed;
}

/** Reads a label file: sections in their order, which do not overlap, and messages that name file and line. */
function parseLabels(text, name) {
  const [rows, errors, warnings] = [[], [], []];
  text.split(LABEL_LINE_ENDS).forEach((line, index) => {
    if (!stripped(line)) return;
    const location = `${name}, line ${index + 1}`;
    try {
      const { start, end, warning } = parseLabelLine(line);
      if (warning) warnings.push(`${location}: ${warning}`);
      rows.push({ start, end, location });
    } catch (error) {
      errors.push(`${location}: ${error.message}`);
    }
  });
  const merged = [];
  for (const { start, end, location } of rows.sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last && start < last.end) {
      warnings.push(`${location}: overlaps another section: merged`);
      last.end = Math.max(last.end, end);
    } else merged.push({ start, end });
  }
  return { rows: merged, errors, warnings };
}

/** Whether a label file may be this match's by its name; browsers replace some characters and append numbers. */
function hasTitle(name) {
  const lettersOf = (text) => text.normalize().replace(/[^\p{L}\p{N}]+/gu, "");
  return lettersOf(name).startsWith(lettersOf(match.title));
}

const firstOf = (messages) => messages.slice(0, 3).join("; ") + (messages.length > 3 ? `; and ${messages.length - 3} more` : "");

/** Returns ranges of frames in their order, without overlaps and within the match. Throws an Error about one that is none. */
function checkedRanges(ranges) {
  const checked = [];
  ranges.forEach((range, index) => {
    const isPair = Array.isArray(range) && range.length === 2 && range.every(Number.isSafeInteger);
    if (!isPair || range[0] < 0 || range[1] <= range[0])
      throw new Error(`range ${index + 1}: received ${JSON.stringify(range).slice(0, 60)}, expected [start_frame, end_frame]`);
    if (range[0] >= numFrames)
      throw new Error(`undecided time begins at frame ${range[0]}, after the match's end (${numFrames} frames): expected a file of this match`);
  });
  for (const [start, end] of [...ranges].sort(([a], [b]) => a - b)) {
    const last = checked.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], Math.min(end, numFrames));
    else checked.push([start, Math.min(end, numFrames)]);
  }
  return checked;
}

/** Reads a file of undecided time, as videosummarizer/undecided.py does. Throws an Error that says what is wrong. */
function parseUndecided(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error("received a text that is not JSON, expected undecided time");
  }
  if (content?.schema_version !== 1 || !Array.isArray(content.undecided))
    throw new Error('received JSON of another kind, expected undecided time: {"schema_version": 1, "undecided": [[start_frame, end_frame], ...]}');
  return checkedRanges(content.undecided);
}

/** Returns the text of a file. Throws an Error about one that is too large or no text. */
async function readText(file) {
  if (file.size > MAX_LABEL_BYTES) throw new Error(`received ${file.size} bytes, expected a label file`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch (error) {
    if (error instanceof TypeError) throw new Error("received bytes that are not UTF-8 text, expected a label file: save it as UTF-8");
    throw error;
  }
}

const isUndecidedFile = ({ name }) => /\.json$/i.test(name);

/** Opens the file of labels among those that were chosen, and the file of its undecided time if it is one of them. */
async function openLabels(files) {
  const [labelFiles, undecidedFiles] = [files.filter((file) => !isUndecidedFile(file)), files.filter(isUndecidedFile)];
  if (labelFiles.length !== 1 || undecidedFiles.length > 1) {
    const names = files.map(({ name }) => name).join(", ");
    return showNotice(`Received ${names}, expected one label file and, if it has some, its undecided time. Nothing is opened.`);
  }
  const [[file], [undecidedFile]] = [labelFiles, undecidedFiles];
  let [text, ranges, reading] = ["", null, file];
  try {
    text = await readText(file);
    reading = undecidedFile;
    if (undecidedFile) ranges = parseUndecided(await readText(undecidedFile));
  } catch (error) {
    return showNotice(`${reading.name}: ${error.message}. Nothing is opened.`);
  }
  const { rows, errors, warnings } = parseLabels(text, file.name);
  if (errors.length) return showNotice(`${firstOf(errors)}. Nothing is opened.`);
  for (const { name } of files)
    if (!hasTitle(name)) warnings.unshift(`${name} does not have the name of the match, ${match.title}: are these its labels?`);
  showLabels(rows, file.name, ranges, warnings);
}

/**
 * Shows the sections of a label file instead of the present ones; Undo brings those back. Where the page has undecided time
 * and none was opened with the labels, that of the page stays: time that nobody has looked at never becomes "no highlight".
 */
function showLabels(rows, name, ranges, warnings) {
  const marksOf = new Map(sections.map(({ start, end, isReviewed, isStarred }) => [`${start},${end}`, { isReviewed, isStarred }]));
  const opened = rows.map(({ start, end }) => ({ ...marksOf.get(`${start},${end}`), id: nextId++, start, end }));
  const isMissing = !ranges && hasUndecided();
  const about = ranges ? " and its undecided time" : isMissing ? "" : ": all of the match counts as looked at";
  change(opened, null, `Opened ${countSections(opened.length)} of ${name}${about}`, ranges ?? (isMissing ? [...(openedUndecided ?? match.undecided)] : null));
  savedText = isMissing ? textOf(opened) : labelText();
  keepDraft();
  if (isMissing)
    warnings.unshift(
      `${name} was opened without undecided time, so that of this page stays. If there is a ${undecidedName} next to it, open both files together`
    );
  const allDecided = () => change(sections, selected, "All of the match counts as looked at", []);
  if (warnings.length) showNotice(firstOf(warnings), isMissing ? [["All of the match was looked at", allDecided]] : []);
}
