// The list, the editor and the clock; buttons; and what happens when the page is opened.

function announce(message) {
  element.status.textContent = message;
}

/** Updates the list, the editor and the buttons. */
function showSections() {
  const total = sections.reduce((sum, { start, end }) => sum + edges[end] - edges[start], 0);
  const starred = sections.filter(({ isStarred }) => isStarred);
  const numReviewed = sections.filter(({ isReviewed }) => isReviewed).length;
  element.summary.textContent =
    `${countSections(sections.length)}, ${preciseTime(total)} of ${preciseTime(edges[numFrames])}` +
    (numReviewed ? `, ${numReviewed} reviewed` : "") +
    (starred.length ? `, ${starred.length} starred` : "");
  element.saveStarred.hidden = !starred.length;
  while (element.list.children.length > sections.length) element.list.lastChild.remove();
  while (element.list.children.length < sections.length) element.list.append(newRow());
  listedSections().forEach((section, index) => showRow(element.list.children[index], section, sections.indexOf(section)));
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
  revealRow();
  speakSelection();
  changed = true;
}

function newRow() {
  const row = document.createElement("li");
  row.innerHTML =
    '<button class="play">&#x25b6;</button><span class="muted number right"></span><span class="number times"></span>' +
    '<span class="number right length"></span><span class="meter number"></span>' +
    '<button class="star"></button><button class="review"></button><button class="remove">&#x2715;</button><span class="why"></span>';
  row.addEventListener("click", (event) => {
    const section = sections.find(({ id }) => id === Number(row.dataset.id));
    if (event.target.closest(".play")) playSection(section);
    else if (event.target.closest(".remove")) removeSection(section.id);
    else if (event.target.closest(".star")) toggleMark("isStarred", section.id);
    else if (event.target.closest(".review")) toggleMark("isReviewed", section.id);
    else {
      pause();
      select(section.id);
    }
  });
  return row;
}

function showRow(row, section, index) {
  const isSelected = section.id === selected;
  const state = [index, section.id, section.start, section.end, isSelected, section.isStarred, section.isReviewed].join();
  if (row.dataset.state === state) return; // of 200 rows, one or two change at a time
  row.dataset.state = state;
  const [playButton, number, times, length, meter, starButton, reviewButton, removeButton, why] = row.children;
  const score = scoreOf(section);
  const [start, end] = [edges[section.start], edges[section.end]];
  row.dataset.id = section.id;
  playButton.setAttribute("aria-label", `Play section ${index + 1}`);
  removeButton.setAttribute("aria-label", `Delete section ${index + 1}`);
  starButton.setAttribute("aria-label", `Star section ${index + 1}`);
  starButton.setAttribute("aria-pressed", !!section.isStarred);
  starButton.textContent = section.isStarred ? "\u2605" : "\u2606";
  reviewButton.setAttribute("aria-label", `Section ${index + 1} reviewed`);
  reviewButton.setAttribute("aria-pressed", !!section.isReviewed);
  reviewButton.textContent = section.isReviewed ? "\u2611" : "\u2610";
  number.textContent = index + 1;
  times.textContent = `${preciseTime(start)} – ${preciseTime(end)}`;
  length.textContent = `${(end - start).toFixed(1)} s`;
  meter.hidden = score === null;
  meter.textContent = score === null ? "" : score.toFixed(2);
  meter.style.setProperty("--fill", `${Math.round(score * 100)}%`);
  why.textContent = whySection(section);
  why.hidden = !why.textContent;
  if (isSelected) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
  // The tabulator reaches the buttons of the selected row: with 200 rows, those of all would be in the way.
  for (const button of row.querySelectorAll("button")) button.tabIndex = isSelected ? 0 : -1;
}

let revealedRow = ""; // the row that the list was scrolled to: the section's id, its place and the number of rows

/** Scrolls the list, and not the page, so that the whole row of the selected section is in view. */
function revealRow() {
  const { list } = element;
  const index = [...list.children].findIndex((row) => row.hasAttribute("aria-current"));
  const place = [selected, index, list.children.length].join();
  if (index < 0 || place === revealedRow) return;
  revealedRow = place;
  const { offsetTop, offsetHeight } = list.children[index];
  const lowest = offsetTop + offsetHeight - list.clientHeight;
  list.scrollTop = Math.max(lowest, Math.min(list.scrollTop, offsetTop));
}

let spokenId = null;

/** Tells those who do not see the list which section is selected. */
function speakSelection() {
  if (selected === spokenId) return;
  spokenId = selected;
  const section = selectedSection();
  const score = section ? scoreOf(section) : null;
  element.selection.textContent = section
    ? `Section ${sections.indexOf(section) + 1} of ${sections.length} selected: ${preciseTime(edges[section.start])} to ${preciseTime(edges[section.end])}${score === null ? "" : `, ${match.score_name} ${score.toFixed(2)}`}`
    : "No section selected";
}

function showClock() {
  const frame = frameAt(now());
  element.clock.textContent = `${preciseTime(now())} of ${preciseTime(edges[numFrames])}, frame ${frame}`;
  if (!video.paused) return; // a screen reader would read out every frame
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
    drawTimeline();
    showClock();
  }
  requestAnimationFrame(tick);
}

// ---- Buttons

const nudge = (side, frames) => {
  const section = selectedSection();
  moveEdge(side, section ? section[side] + frames : 0);
};
const step = (frames) => {
  pause();
  goToFrame(frameAt(now()) + frames);
};
const jump = (seconds) => goTo(now() + seconds);
/** Lets the section start or end at the frame shown, which is the last one in it. */
function setHere(side) {
  const [section, frame] = [selectedSection(), frameAt(now())];
  if (section && side === "start" && frame >= section.end) return announce("The frame shown is after the section: it cannot start here");
  if (section && side === "end" && frame < section.start) return announce("The frame shown is before the section: it cannot end here");
  moveEdge(side, side === "start" ? frame : frame + 1);
}
const startHere = () => setHere("start");
const endHere = () => setHere("end");
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
  element.mute.textContent = video.muted ? "Unmute" : "Mute";
};
const showKeys = () => element.keys.showModal();

const CLICKS = {
  nextStretch: () => nextStretch(), previousStretch: () => nextStretch(-1), lookedAt: toggleLookedAt,
  undo, redo, discard, saveStarred, mute, save: () => save(), openLabels: () => element.labelsFile.click(), chooseVideo: () => element.videoFile.click(),
  fullScreen: toggleFullScreen, playAll, startHere, endHere, zoomSection, play: playOrPause, add: addSection, help: showKeys,
  startEarlier: () => nudge("start", -1), startLater: () => nudge("start", 1),
  endEarlier: () => nudge("end", -1), endLater: () => nudge("end", 1), remove: () => removeSection(), frameBack: () => step(-1), frameForward: () => step(1),
  zoomIn: () => zoom(0.5), zoomOut: () => zoom(2), zoomAll: () => setView(0, edges[numFrames]),
};
/** Returns the frame edge that is typed: a whole number is a frame, with a colon or a point it is a time. */
function typedEdge(text) {
  const seconds = isTimeText(text) ? parseTime(text) : null;
  return seconds === null ? parseFrame(text) : edgeNear(seconds);
}
for (const side of ["start", "end"]) {
  element[side].addEventListener("change", () => {
    const text = element[side].value.trim();
    const edge = typedEdge(text);
    if (edge !== null) return moveEdge(side, edge);
    showSections();
    if (text) announce(`Received ${text}, expected a frame such as 589 or a time such as 00:16.8`);
  });
  element[side].addEventListener("keydown", (event) => {
    const frames = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!frames) return;
    event.preventDefault();
    const edge = typedEdge(element[side].value.trim());
    if (edge !== null) moveEdge(side, edge + frames);
  });
}
element.speed.addEventListener("change", setSpeed);
element.order.addEventListener("change", showSections);
// After a choice with the mouse the keys are the page's again.
for (const control of [element.speed, element.order])
  control.addEventListener("change", () => control.matches(":focus-visible") || control.blur());
element.labelsFile.addEventListener("change", () => {
  const files = [...element.labelsFile.files];
  if (files.length) openLabels(files);
  element.labelsFile.value = ""; // so that the same files can be opened once more
});
// A button that was clicked does not take the focus, so that the space bar still plays and pauses.
document.addEventListener("mousedown", (event) => {
  if (event.target.closest("button")) event.preventDefault();
});
element.editor.addEventListener("submit", (event) => event.preventDefault());
video.addEventListener("click", playOrPause);
const showPlaying = () => {
  element.play.textContent = video.paused && !reverse ? "Play" : "Pause";
  changed = true;
};
for (const name of ["play", "pause"]) video.addEventListener(name, showPlaying);
video.addEventListener("timeupdate", stopAtEnd); // in a tab that is not shown, nothing is drawn
for (const name of ["seeked", "loadeddata"]) video.addEventListener(name, () => (changed = true));
video.addEventListener("seeked", () => setTimeout(showAgain, 250, playhead));
const noteShown = (_, { mediaTime }) => {
  shownSec = mediaTime;
  video.requestVideoFrameCallback(noteShown);
};
if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(noteShown);
addEventListener("resize", () => (changed = true));
// A message above takes room from the list, for example.
new ResizeObserver(() => {
  revealedRow = "";
  revealRow();
}).observe(element.list);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColors);
addEventListener("beforeunload", (event) => {
  if (labelText() !== savedText) event.preventDefault();
});

async function open() {
  edges = await readEdges(match.frame_times);
  numFrames = edges.length - 1;
  element.title.textContent = match.title;
  const hasScores = match.scores.length > 0; // a match that was cut from a label file may have none
  element.scoreLegend.hidden = element.threshold.hidden = element.order.hidden = !hasScores;
  element.foundLegend.textContent = hasScores ? `${match.score_name} in context, sections` : "sections";
  element.scoreLegend.lastChild.textContent = match.score_name;
  element.order.querySelector("[value=score]").textContent = `by ${match.score_name}`;
  if (hasScores) element.threshold.textContent = `threshold ${match.threshold.toFixed(2)}`;
  element.labelledLegend.hidden = !match.labelled;
  element.axis.setAttribute("aria-valuemax", edges[numFrames].toFixed(2));
  sections = foundSections();
  setUndecided(null);
  savedText = labelText();
  restoreDraft();
  for (const [id, action] of Object.entries(CLICKS)) element[id].addEventListener("click", action);
  setView(0, edges[numFrames]);
  openStretches();
  readColors();
  showSections();
  video.src = match.video_url;
  requestAnimationFrame(tick);
}
open().catch((error) => announce(`This page needs a browser of 2023 or later (${error.message})`));
