"use strict";

// The match, its sections with their history, and playing. review_page.py puts the match into page.html.

// ---- Frames and their times

const match = JSON.parse(document.getElementById("match").textContent);
const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((e) => [e.id, e]));
const video = element.video;
const NEW_SECTION_SEC = 5;
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

/** Returns the mean score of the steps that a section covers, weighted by how much of each it covers. */
function scoreOf(section) {
  const [start, end] = [edges[section.start], edges[section.end]];
  const length = match.step_sec;
  let sum = 0;
  for (let k = Math.floor(start / length); k < match.scores.length && k * length < end; k++)
    sum += match.scores[k] * (Math.min((k + 1) * length, end) - Math.max(k * length, start));
  return sum / (end - start);
}

function clockTime(seconds) {
  const whole = Math.floor(seconds + 2e-6);
  return [whole / 3600, (whole / 60) % 60, whole % 60].map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
}

function preciseTime(seconds) {
  const hundredths = Math.round(seconds * 100);
  return clockTime(hundredths / 100).replace(/^00:/, "") + "." + String(hundredths % 100).padStart(2, "0");
}

/** Returns the label file: start_frame,end_frame,start_time,end_time on each line. */
function labelText() {
  return sections
    .map(({ start, end }) => `${start},${end},${clockTime(edges[start])},${clockTime(edges[end])}\n`)
    .join("");
}

// ---- Sections and their history. `sections` is never changed in place, so that undo only replaces it.

let sections = [];
let selected = null; // a section's id
let nextId = 1;
let redoStack = [];
let undoStack = [];
let saved = null; // the sections as last saved

const selectedSection = () => sections.find(({ id }) => id === selected);

/** Returns the frames within which a section can move without touching another: [lowest start, highest end]. */
function freeRange(id) {
  const index = sections.findIndex((section) => section.id === id);
  return [index > 0 ? sections[index - 1].end : 0, index + 1 < sections.length ? sections[index + 1].start : numFrames];
}

function change(newSections, newSelected, message) {
  undoStack.push({ sections, selected });
  redoStack = [];
  sections = newSections;
  selected = newSelected;
  announce(message);
  showSections();
}

function withEdges(id, start, end) {
  return sections.map((section) => (section.id === id ? { id, start, end } : section));
}

/** Limits a new boundary, so that the section keeps at least one frame and does not overlap its neighbors. */
function clampEdge(section, side, edge) {
  const [lowest, highest] = freeRange(section.id);
  return side === "start"
    ? Math.max(lowest, Math.min(edge, section.end - 1))
    : Math.min(highest, Math.max(edge, section.start + 1));
}

function moveEdge(side, edge) {
  const section = selectedSection();
  if (!section) return announce("Select a section first");
  const placed = clampEdge(section, side, edge);
  if (placed !== section[side]) {
    const moved = { ...section, [side]: placed };
    change(withEdges(section.id, moved.start, moved.end), section.id, `${side === "start" ? "Starts" : "Ends"} at ${preciseTime(edges[placed])}`);
  } else showSections();
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

function restoreFrom(from, to, message, nothing) {
  const state = from.pop();
  if (!state) return announce(nothing);
  to.push({ sections, selected });
  ({ sections, selected } = state);
  announce(message);
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

function selectNeighbor(step) {
  if (!sections.length) return;
  const index = sections.findIndex((section) => section.id === selected);
  const frame = frameAt(now());
  const fromHere = sections.findIndex((section) => section.start > frame);
  const first = step > 0 ? (fromHere < 0 ? sections.length - 1 : fromHere) : (fromHere < 0 ? sections.length : fromHere) - 1;
  const next = index < 0 ? first : index + step;
  select(sections[Math.max(0, Math.min(next, sections.length - 1))].id);
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([labelText()], { type: "text/plain" }));
  link.download = match.labels_name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = sections;
  announce(`Saved ${sections.length} sections as ${match.labels_name}`);
}

// ---- Playing. `playhead` is the position where no video is loaded.

let playhead = 0;
let hasVideo = false;
let queue = []; // sections still to play after the current one
let stopAt = null; // the frame edge at which to stop
let shownSec = null; // when the frame on the screen begins, null where the browser does not report it
let isShownAgain = false; // whether the video was sent to the playhead a second time

const now = () => (hasVideo && video.readyState && !video.seeking ? video.currentTime : playhead);

function goTo(seconds) {
  playhead = Math.max(0, Math.min(seconds, edges[numFrames] - 1e-4));
  if (hasVideo) video.currentTime = playhead;
  isShownAgain = false;
  changed = true;
}

/** Seeks once more where the frame of an earlier seek stays on the screen, as it sometimes does in Chromium. */
function showAgain(seconds) {
  if (isShownAgain || !video.paused || video.seeking || seconds !== playhead) return;
  if (shownSec === null || frameAt(shownSec) === frameAt(seconds)) return;
  isShownAgain = true;
  video.currentTime = seconds;
}

function goToFrame(frame) {
  const index = Math.max(0, Math.min(frame, numFrames - 1));
  // Just inside the frame, so that rounding in the browser cannot show the one before.
  goTo(edges[index] + Math.min(0.01, (edges[index + 1] - edges[index]) / 2));
}

function play() {
  if (!hasVideo) return announce("There is no video to play");
  video.play().catch(() => announce("The browser did not let the video play: press Play again"));
}

function pause() {
  queue = [];
  stopAt = null;
  video.pause();
}

function playSection(section, following = []) {
  queue = following;
  stopAt = section.end;
  selected = section.id;
  goToFrame(section.start);
  reveal(edges[section.start], edges[section.end]);
  showSections();
  play();
}

function stopAtEnd() {
  if (stopAt === null || video.paused || frameAt(now()) < stopAt - 1) return;
  if (now() < edges[stopAt] - 0.012 && stopAt < numFrames) return;
  const [next, ...following] = queue;
  const end = stopAt;
  if (next) return playSection(next, following);
  // Only once the video is paused: a frame that is being presented would replace the one of the seek.
  video.addEventListener("pause", () => setTimeout(goToFrame, 50, end - 1), { once: true });
  pause();
}
