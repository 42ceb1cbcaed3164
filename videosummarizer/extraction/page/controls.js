// The list, the editor and the clock; buttons; and what happens when the page is opened.

function announce(message) {
  element.status.textContent = message;
}

/** Updates the list, the editor and the buttons. */
function showSections() {
  const total = sections.reduce((sum, { start, end }) => sum + edges[end] - edges[start], 0);
  element.summary.textContent = `${sections.length} sections, ${preciseTime(total)} of ${clockTime(edges[numFrames])}`;
  while (element.list.children.length > sections.length) element.list.lastChild.remove();
  while (element.list.children.length < sections.length) element.list.append(newRow());
  sections.forEach((section, index) => showRow(element.list.children[index], section, index));
  element.empty.hidden = sections.length > 0;
  const section = selectedSection();
  for (const side of ["start", "end"]) {
    element[side].value = section ? section[side] : "";
    element[side + "Time"].textContent = section ? preciseTime(edges[section[side]]) : "";
  }
  for (const control of element.editor.elements) control.disabled = !section;
  for (const id of ["remove", "zoomSection"]) element[id].disabled = !section;
  element.undo.disabled = !undoStack.length;
  element.redo.disabled = !redoStack.length;
  element.playAll.disabled = !sections.length;
  changed = true;
}

function newRow() {
  const row = document.createElement("li");
  row.innerHTML =
    '<button class="play">&#x25b6;</button><span class="muted number right"></span><span class="number times"></span>' +
    '<span class="number right length"></span><span class="meter number"></span><button class="remove">&#x2715;</button>';
  row.addEventListener("click", (event) => {
    const section = sections.find(({ id }) => id === Number(row.dataset.id));
    if (event.target.closest(".play")) playSection(section);
    else if (event.target.closest(".remove")) removeSection(section.id);
    else {
      pause();
      select(section.id);
    }
  });
  return row;
}

function showRow(row, section, index) {
  const isSelected = section.id === selected;
  const state = [index, section.id, section.start, section.end, isSelected].join();
  if (row.dataset.state === state) return; // of 200 rows, one or two change at a time
  row.dataset.state = state;
  const [playButton, number, times, length, meter, removeButton] = row.children;
  const score = scoreOf(section);
  const [start, end] = [edges[section.start], edges[section.end]];
  row.dataset.id = section.id;
  playButton.setAttribute("aria-label", `Play section ${index + 1}`);
  removeButton.setAttribute("aria-label", `Delete section ${index + 1}`);
  number.textContent = index + 1;
  times.textContent = `${preciseTime(start)} – ${preciseTime(end)}`;
  length.textContent = `${(end - start).toFixed(1)} s`;
  meter.textContent = score.toFixed(2);
  meter.style.setProperty("--fill", `${Math.round(score * 100)}%`);
  if (isSelected && !row.hasAttribute("aria-current")) row.scrollIntoView({ block: "nearest" });
  row.toggleAttribute("aria-current", isSelected);
  if (isSelected) row.setAttribute("aria-current", "true");
}

function showClock() {
  const frame = frameAt(now());
  element.clock.textContent = `${preciseTime(now())} of ${clockTime(edges[numFrames])}, frame ${frame}`;
  element.axis.setAttribute("aria-valuenow", now().toFixed(2));
  element.axis.setAttribute("aria-valuetext", `${preciseTime(now())}, frame ${frame}`);
}

function tick() {
  stopAtEnd();
  if (!video.paused) {
    playhead = now();
    if (!drag && (playhead < view.start || playhead > view.end)) setView(playhead, playhead + view.end - view.start);
    changed = true;
  }
  if (changed) {
    changed = false;
    drawAxis();
    drawOverview();
    showClock();
  }
  requestAnimationFrame(tick);
}

// ---- Buttons

const nudge = (side, frames) => {
  const section = selectedSection();
  moveEdge(side, section ? section[side] + frames : 0);
};
const playOrPause = () => (video.paused ? play() : pause());
const step = (frames) => {
  pause();
  goToFrame(frameAt(now()) + frames);
};
const jump = (seconds) => goTo(now() + seconds);
const startHere = () => moveEdge("start", frameAt(now()));
const endHere = () => moveEdge("end", frameAt(now()) + 1); // the frame shown is the last one in it
const playSelected = () => (selectedSection() ? playSection(selectedSection()) : announce("Select a section first"));
const playAll = () => {
  const index = Math.max(0, sections.findIndex(({ end }) => edges[end] > now()));
  const [first, ...following] = sections.slice(index);
  if (first) playSection(first, following);
};
const zoomSection = () => {
  const section = selectedSection();
  if (!section) return;
  const length = edges[section.end] - edges[section.start];
  setView(edges[section.start] - length / 2, edges[section.end] + length / 2);
};
const mute = () => {
  video.muted = !video.muted;
  element.mute.setAttribute("aria-pressed", video.muted);
  element.mute.textContent = video.muted ? "Sound on" : "Mute";
};
const showKeys = () => element.keys.showModal();

const CLICKS = {
  undo, redo, save, mute, playAll, startHere, endHere, zoomSection, play: playOrPause, add: addSection, help: showKeys,
  startEarlier: () => nudge("start", -1), startLater: () => nudge("start", 1),
  endEarlier: () => nudge("end", -1), endLater: () => nudge("end", 1), remove: () => removeSection(), frameBack: () => step(-1), frameForward: () => step(1),
  zoomIn: () => zoom(0.5), zoomOut: () => zoom(2), zoomAll: () => setView(0, edges[numFrames]),
};
for (const side of ["start", "end"])
  element[side].addEventListener("change", () => {
    const edge = Math.round(element[side].valueAsNumber);
    if (Number.isFinite(edge)) moveEdge(side, edge);
    else showSections();
  });
// A button that was clicked does not take the focus, so that the space bar still plays and pauses.
document.addEventListener("mousedown", (event) => {
  if (event.target.closest("button")) event.preventDefault();
});
element.editor.addEventListener("submit", (event) => event.preventDefault());
video.addEventListener("click", playOrPause);
for (const [name, text] of [["play", "Pause"], ["pause", "Play"]])
  video.addEventListener(name, () => {
    element.play.textContent = text;
    changed = true;
  });
video.addEventListener("timeupdate", stopAtEnd); // in a tab that is not shown, nothing is drawn
for (const name of ["seeked", "loadeddata"]) video.addEventListener(name, () => (changed = true));
video.addEventListener("seeked", () => setTimeout(showAgain, 250, playhead));
const noteShown = (_, { mediaTime }) => {
  shownSec = mediaTime;
  video.requestVideoFrameCallback(noteShown);
};
if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(noteShown);
video.addEventListener("loadedmetadata", () => {
  hasVideo = true;
  video.currentTime = playhead;
});
video.addEventListener("error", () => {
  hasVideo = false;
  element.missing.hidden = false;
  element.missing.textContent = `The video cannot be played: ${decodeURIComponent(match.video_url)}. It has to be where it was when this page was written, in a format that this browser plays. The sections can be edited without it.`;
});
addEventListener("resize", () => (changed = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColors);
addEventListener("beforeunload", (event) => {
  if (sections !== saved) event.preventDefault();
});

async function open() {
  edges = await readEdges(match.frame_times);
  numFrames = edges.length - 1;
  element.title.textContent = match.title;
  element.threshold.textContent = `threshold ${match.threshold.toFixed(2)}`;
  element.labelledLegend.hidden = !match.labelled;
  element.axis.setAttribute("aria-valuemax", edges[numFrames].toFixed(2));
  sections = match.sections.map(([start, end]) => ({ id: nextId++, start, end }));
  saved = sections;
  for (const [id, action] of Object.entries(CLICKS)) element[id].addEventListener("click", action);
  setView(0, edges[numFrames]);
  readColors();
  showSections();
  video.src = match.video_url;
  requestAnimationFrame(tick);
}
open().catch((error) => announce(`This page needs a browser of 2023 or later (${error.message})`));
