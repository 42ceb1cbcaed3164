"use strict";

// The match, and its sections with their history. review_page.py puts the match into page.html.

// ---- Frames and their times

const match = JSON.parse(document.getElementById("match").textContent);
const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((e) => [e.id, e]));
const video = element.video;
const NEW_SECTION_SEC = 5;
const MIN_SECTION_SEC = 0.5; // no shorter ones are found
const HANDLE_PX = 9;
const MIN_VIEW_SEC = 2;

let edges = null; // seconds at which frame i begins; one more entry, the end of the match
let numFrames = 0;

/** Returns the seconds of each frame, from zlib-compressed differences in microseconds. */
async function readEdges({ deltas, end_sec }) {
  const packed = Uint8Array.from(atob(deltas), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const differences = new Float64Array(await new Response(stream).arrayBuffer());
  const seconds = new Float64Array(differences.length + 1);
  let microseconds = 0;
  differences.forEach((difference, index) => {
    microseconds += difference;
    seconds[index] = microseconds / 1e6;
  });
  seconds[differences.length] = end_sec;
  return seconds;
}

/** Returns the last frame that begins at or before a time. */
function frameAt(seconds) {
  let low = 0;
  let high = numFrames - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle] <= seconds + 2e-6) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Returns the frame edge, 0 to numFrames, that is nearest to a time. */
function edgeNear(seconds) {
  const frame = frameAt(seconds);
  return seconds - edges[frame] > edges[frame + 1] - seconds ? frame + 1 : frame;
}

/** Returns the mean score of a section; null if it is not all scored. */
const scoreOf = (section) => meanOf(section, match.scores);

/** Returns the mean value of the steps that a section covers, weighted by how much of each; null if it is not all scored. */
function meanOf(section, values) {
  const length = match.step_sec;
  const stepStart = (k) => match.start_sec + k * length;
  const scoredEnd = stepStart(match.scores.length);
  const start = edges[section.start];
  if (start < match.start_sec - 1e-6 || edges[section.end - 1] >= scoredEnd) return null;
  const end = Math.min(edges[section.end], scoredEnd);
  let sum = 0;
  for (let k = Math.floor((start + 1e-6 - match.start_sec) / length); k < values.length && stepStart(k) < end; k++)
    sum += values[k] * (Math.min(stepStart(k + 1), end) - Math.max(stepStart(k), start));
  return sum / (end - start);
}

/** Returns the parts of ranges, [start, end] each, that others do not cover; both are in order. */
function subtract(ranges, others) {
  const rest = [];
  for (const [start, end] of ranges) {
    let from = start;
    for (const [otherStart, otherEnd] of others) {
      if (otherEnd <= from || otherStart >= end) continue;
      if (otherStart > from) rest.push([from, otherStart]);
      from = Math.max(from, otherEnd);
    }
    if (from < end) rest.push([from, end]);
  }
  return rest;
}

function clockTime(seconds) {
  const whole = Math.floor(seconds + 2e-6);
  return [whole / 3600, (whole / 60) % 60, whole % 60].map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
}

/** Returns minutes, seconds and hundredths, and hours too where the match has any, so that all times look the same. */
function preciseTime(seconds) {
  const hundredths = Math.round(seconds * 100);
  const clock = clockTime(hundredths / 100);
  return (edges[numFrames] < 3600 ? clock.replace(/^00:/, "") : clock) + "." + String(hundredths % 100).padStart(2, "0");
}

/** Returns a number of sections in words. */
const countSections = (number) => `${number} section${number === 1 ? "" : "s"}`;

// ---- Sections and their history. `sections` is never changed in place, so that undo only replaces it.

const foundSections = () => match.sections.map(([start, end]) => ({ id: nextId++, start, end }));

let sections = [];
let selected = null; // a section's id
let nextId = 1;
let redoStack = [];
let undoStack = [];
let savedText = null; // the label file as last saved or opened

const selectedSection = () => sections.find(({ id }) => id === selected);

/** Returns the frames within which a section can move without touching another: [lowest start, highest end]. */
function freeRange(id) {
  const index = sections.findIndex((section) => section.id === id);
  return [index > 0 ? sections[index - 1].end : 0, index + 1 < sections.length ? sections[index + 1].start : numFrames];
}

function change(newSections, newSelected, message, newUndecided = openedUndecided) {
  undoStack.push({ sections, selected, openedUndecided, lookedAt });
  redoStack = [];
  sections = newSections;
  selected = newSelected;
  if (newUndecided !== openedUndecided) setUndecided(newUndecided);
  announce(message);
  keepDraft();
  showSections();
}

function withEdges(id, start, end) {
  return sections.map((section) => (section.id === id ? { ...section, start, end } : section));
}

/** Limits a new boundary, so that the section does not overlap its neighbors and is not shorter than half a second. */
function clampEdge(section, side, edge) {
  const [lowest, highest] = freeRange(section.id);
  const [start, end] = [edges[section.start], edges[section.end]];
  const shortest = Math.min(MIN_SECTION_SEC, end - start); // one that was shorter may stay so
  return side === "start"
    ? Math.max(lowest, Math.min(edge, frameAt(end - shortest)))
    : Math.min(highest, Math.max(edge, frameAt(start + shortest - 4e-6) + 1));
}

function moveEdge(side, edge) {
  const section = selectedSection();
  if (!section) return announce("Select a section first");
  const placed = clampEdge(section, side, edge);
  const isTooShort = side === "start" ? placed < edge : placed > edge;
  const message = `${side === "start" ? "Starts" : "Ends"} at ${preciseTime(edges[placed])}${isTooShort ? `: a section lasts ${MIN_SECTION_SEC} s at least` : ""}`;
  if (placed !== section[side]) {
    const moved = { ...section, [side]: placed };
    change(withEdges(section.id, moved.start, moved.end), section.id, message);
  } else {
    showSections();
    if (isTooShort) announce(message);
  }
  showEdge(side, placed);
}

/** Shows the first frame of a section, or the last one in it. */
function showEdge(side, edge) {
  pause();
  goToFrame(side === "start" ? edge : edge - 1);
}

function addSection() {
  const start = frameAt(now());
  if (sections.some((section) => section.start <= start && start < section.end))
    return announce("There is a section here already");
  const following = sections.find((section) => section.start > start);
  const end = Math.max(start + 1, Math.min(edgeNear(edges[start] + NEW_SECTION_SEC), following ? following.start : numFrames));
  if (edges[end] - edges[start] < MIN_SECTION_SEC - 2e-6)
    return announce(`There is no room here: ${following ? "the next section begins" : "the match ends"} in less than ${MIN_SECTION_SEC} s`);
  const section = { id: nextId++, start, end };
  change([...sections, section].sort((a, b) => a.start - b.start), section.id, `Added at ${preciseTime(edges[start])}`);
}

function removeSection(id = selected) {
  const index = sections.findIndex((section) => section.id === id);
  if (index < 0) return announce("Select a section first");
  const rest = sections.filter((section) => section.id !== id);
  const neighbor = rest[Math.min(index, rest.length - 1)];
  change(rest, id === selected ? (neighbor ? neighbor.id : null) : selected, `Deleted section ${index + 1}`);
}

/** Marks a section as reviewed (isReviewed) or as one of those for the reel (isStarred), or takes the mark away. */
function toggleMark(mark, id = selected) {
  const section = sections.find((other) => other.id === id);
  if (!section) return announce("Select a section first");
  const name = mark === "isStarred" ? "starred" : "reviewed";
  const message = `Section ${sections.indexOf(section) + 1} is ${section[mark] ? "no longer " : ""}${name}`;
  change(sections.map((other) => (other === section ? { ...section, [mark]: !section[mark] } : other)), selected, message);
}

/** Returns the sections in the order of the list. */
function listedSections() {
  if (element.order.value === "time") return sections;
  return [...sections].sort((a, b) => scoreOf(b) - scoreOf(a) || a.start - b.start);
}

function restoreFrom(from, to, message, nothing) {
  const state = from.pop();
  if (!state) return announce(nothing);
  to.push({ sections, selected, openedUndecided, lookedAt });
  ({ sections, selected } = state);
  if (state.openedUndecided !== openedUndecided) setUndecided(state.openedUndecided, state.lookedAt);
  announce(message);
  keepDraft();
  showSections();
}
const undo = () => restoreFrom(undoStack, redoStack, "Undone", "Nothing to undo");
const redo = () => restoreFrom(redoStack, undoStack, "Redone", "Nothing to redo");

function select(id, { jump = true } = {}) {
  selected = id;
  const section = selectedSection();
  if (section && jump) {
    goToFrame(section.start);
    reveal(edges[section.start], edges[section.end]);
  }
  showSections();
}

/** Selects the section before or after the selected one in the list, or else before or after the playhead. */
function selectNeighbor(step) {
  if (!sections.length) return;
  const listed = listedSections();
  const index = listed.findIndex(({ id }) => id === selected);
  if (index >= 0) return select(listed[Math.max(0, Math.min(index + step, listed.length - 1))].id);
  const frame = frameAt(now());
  const fromHere = sections.findIndex((section) => section.start > frame);
  const following = fromHere < 0 ? sections.length : fromHere;
  select(sections[Math.max(0, Math.min(step > 0 ? following : following - 1, sections.length - 1))].id);
}
