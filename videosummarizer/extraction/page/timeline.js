// The timeline and the strip below it: what they show, and what a mouse, a pen or a finger does on them.

// ---- Drawing

let view = { start: 0, end: 1 };
let changed = true;
let drag = null;

function setView(start, end) {
  const duration = edges[numFrames];
  const length = Math.max(Math.min(MIN_VIEW_SEC, duration), Math.min(end - start, duration));
  const from = Math.max(0, Math.min(start, duration - length));
  view = { start: from, end: from + length };
  changed = true;
}

function zoom(factor, center = now()) {
  const middle = center < view.start || center > view.end ? (view.start + view.end) / 2 : center;
  setView(middle - (middle - view.start) * factor, middle + (view.end - middle) * factor);
}

/** Scrolls so that a range of time is in view. */
function reveal(start, end) {
  if (start >= view.start && end <= view.end) return;
  const length = Math.max(view.end - view.start, (end - start) * 1.5);
  setView((start + end - length) / 2, (start + end + length) / 2);
}

const toX = (seconds, width) => ((seconds - view.start) / (view.end - view.start)) * width;
const toSeconds = (x, width) => view.start + (x / width) * (view.end - view.start);

function prepareContext(canvas) {
  const [ratio, width, height] = [devicePixelRatio || 1, canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio))
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

let colors = {};
function readColors() {
  const probe = document.createElement("i");
  document.body.append(probe);
  for (const name of ["ground", "raised", "border", "text", "muted", "score", "found", "labelled", "playhead"]) {
    probe.style.color = `var(--${name})`;
    colors[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  changed = true;
}

const LANES = { ruler: [0, 22], sections: [26, 50], labelled: [54, 64], plot: [72, 186] };

/** Draws the scores of steps first to last: those of the network as an area, those in context as a line. */
function drawScores(context, scores, isArea, [top, bottom], toPlaceX, first, last) {
  const length = match.step_sec;
  const y = (score) => bottom - score * (bottom - top);
  context.beginPath();
  if (isArea) context.moveTo(toPlaceX(first * length), bottom);
  let [column, highest] = [null, 0];
  for (let k = first; k < last; k++) {
    const [left, right] = [toPlaceX(k * length), toPlaceX(Math.min((k + 1) * length, edges[numFrames]))];
    if (right - left >= 1) {
      context.lineTo(left, y(scores[k]));
      context.lineTo(right, y(scores[k]));
      continue;
    }
    // Many steps in a pixel: the highest of them is drawn, so that no peak is lost.
    if (Math.floor(left) !== column) [column, highest] = [Math.floor(left), 0];
    highest = Math.max(highest, scores[k]);
    context.lineTo(left, y(highest));
  }
  if (isArea) {
    context.lineTo(toPlaceX(Math.min(last * length, edges[numFrames])), bottom);
    context.closePath();
    context.globalAlpha = 0.22;
    context.fillStyle = colors.score;
    context.fill();
    context.globalAlpha = 1;
  }
  context.strokeStyle = isArea ? colors.score : colors.found;
  context.lineWidth = 1.25;
  context.stroke();
}

function drawRuler(context, width) {
  const steps = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600];
  const step = steps.find((seconds) => (seconds / (view.end - view.start)) * width >= 84) || 3600;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let mark = Math.ceil(view.start / step); mark * step <= view.end; mark++) {
    const x = toX(mark * step, width);
    context.fillStyle = colors.border;
    context.fillRect(Math.round(x), 0, 1, LANES.plot[1]);
    context.fillStyle = colors.muted;
    context.fillText(step < 1 ? preciseTime(mark * step).slice(0, -1) : clockTime(mark * step).replace(/^00:/, ""), x + 4, 11);
  }
}

function drawAxis() {
  const [context, width] = prepareContext(element.axis);
  const length = match.step_sec;
  drawRuler(context, width);
  const first = Math.max(0, Math.floor(view.start / length));
  const last = Math.min(match.scores.length, Math.ceil(view.end / length));
  const [top, bottom] = LANES.plot;
  for (const section of sections) {
    const [left, right] = [toX(edges[section.start], width), toX(edges[section.end], width)];
    if (right < -20 || left > width + 20) continue;
    const isSelected = section.id === selected;
    const sectionWidth = Math.max(2, right - left);
    context.fillStyle = colors.found;
    context.globalAlpha = isSelected ? 0.26 : 0.13;
    context.fillRect(left, top, sectionWidth, bottom - top);
    context.globalAlpha = isSelected ? 1 : 0.62;
    context.beginPath();
    context.roundRect(left, LANES.sections[0], sectionWidth, LANES.sections[1] - LANES.sections[0], Math.min(4, sectionWidth / 2));
    context.fill();
    context.globalAlpha = 1;
    if (isSelected) drawHandles(context, left, left + sectionWidth);
  }
  for (const [start, end] of match.labelled || []) {
    const [left, right] = [toX(edges[start], width), toX(edges[end], width)];
    context.fillStyle = colors.labelled;
    context.fillRect(left, LANES.labelled[0], Math.max(2, right - left), LANES.labelled[1] - LANES.labelled[0]);
  }
  const toPlotX = (seconds) => toX(seconds, width);
  drawScores(context, match.scores, true, LANES.plot, toPlotX, first, last);
  drawScores(context, match.decoded_scores, false, LANES.plot, toPlotX, first, Math.min(last, match.decoded_scores.length));
  const level = bottom - match.threshold * (bottom - top);
  context.strokeStyle = colors.muted;
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(0, level);
  context.lineTo(width, level);
  context.stroke();
  context.setLineDash([]);
  const x = toX(now(), width);
  context.fillStyle = colors.playhead;
  context.fillRect(x - 0.75, 0, 1.5, bottom);
  context.beginPath();
  context.moveTo(x - 5, 0);
  context.lineTo(x + 5, 0);
  context.lineTo(x, 8);
  context.fill();
}

/** Draws handles outside a section's boundaries, so that they can be grabbed however narrow it is. */
function drawHandles(context, left, right) {
  const [top, bottom] = LANES.sections;
  context.fillStyle = colors.text;
  context.beginPath();
  context.roundRect(left - HANDLE_PX, top - 2, HANDLE_PX, bottom - top + 4, [4, 0, 0, 4]);
  context.roundRect(right, top - 2, HANDLE_PX, bottom - top + 4, [0, 4, 4, 0]);
  context.fill();
  context.fillRect(left - 0.5, top, 1, LANES.plot[1] - top);
  context.fillRect(right - 0.5, top, 1, LANES.plot[1] - top);
  context.fillStyle = colors.ground;
  context.fillRect(left - HANDLE_PX / 2 - 0.5, top + 5, 1.5, bottom - top - 10);
  context.fillRect(right + HANDLE_PX / 2 - 0.5, top + 5, 1.5, bottom - top - 10);
}

function drawOverview() {
  const [context, width, height] = prepareContext(element.overview);
  const scale = width / edges[numFrames];
  context.fillStyle = colors.ground;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colors.found;
  for (const { start, end } of sections)
    context.fillRect(edges[start] * scale, 3, Math.max(1.5, (edges[end] - edges[start]) * scale), height - 6);
  context.fillStyle = colors.playhead;
  context.fillRect(now() * scale - 0.5, 0, 1.5, height);
  context.strokeStyle = colors.text;
  context.lineWidth = 1.5;
  context.strokeRect(view.start * scale + 0.75, 0.75, Math.max(4, (view.end - view.start) * scale - 1.5), height - 1.5);
}

// ---- Mouse, pen and touch

/** Returns what is under a point of the timeline: a boundary of a section, a section, or neither. */
function under(x, y) {
  const width = element.axis.clientWidth;
  const [top, bottom] = LANES.sections;
  const candidates = [selectedSection(), ...sections].filter(Boolean);
  for (const section of candidates) {
    const [left, right] = [toX(edges[section.start], width), Math.max(toX(edges[section.end], width), toX(edges[section.start], width) + 2)];
    const isSelected = section.id === selected;
    const inside = isSelected ? Math.min(4, (right - left) / 3) : Math.min(5, (right - left) / 4);
    const outside = isSelected ? HANDLE_PX + 2 : 3;
    if (y < top - 4 || (y > bottom + 4 && !isSelected)) continue;
    const reach = y > bottom + 4 ? 3 : outside;
    if (x >= left - reach && x <= left + inside) return { section, side: "start" };
    if (x >= right - inside && x <= right + reach) return { section, side: "end" };
    if (y <= bottom + 4 && x >= left && x <= right) return { section };
  }
  return {};
}

function pointOf(event) {
  const box = element.axis.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top, box.width];
}

element.axis.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  const [x, y, width] = pointOf(event);
  const { section, side } = under(x, y);
  element.axis.setPointerCapture(event.pointerId);
  pause();
  if (section) select(section.id, { jump: false });
  if (side) {
    drag = { side, section, before: sections, offset: x - toX(edges[section[side]], width) };
    showEdge(side, section[side]);
  } else {
    drag = { scrub: true };
    goTo(toSeconds(x, width));
  }
});

element.axis.addEventListener("pointermove", (event) => {
  const [x, y, width] = pointOf(event);
  if (!drag) {
    const { section, side } = under(x, y);
    element.axis.style.cursor = side ? "ew-resize" : section ? "pointer" : "crosshair";
  } else if (drag.scrub) goTo(toSeconds(Math.max(0, Math.min(x, width)), width));
  else {
    const section = selectedSection();
    const placed = clampEdge(section, drag.side, edgeNear(toSeconds(x - drag.offset, width)));
    if (placed === section[drag.side]) return;
    const moved = { ...section, [drag.side]: placed };
    sections = withEdges(section.id, moved.start, moved.end);
    goToFrame(drag.side === "start" ? placed : placed - 1);
    showSections();
  }
});

function endDrag() {
  if (drag && drag.before && drag.before !== sections) {
    const moved = sections;
    sections = drag.before; // one step of history for the whole drag
    change(moved, selected, `${drag.side === "start" ? "Starts" : "Ends"} at ${preciseTime(edges[moved.find(({ id }) => id === selected)[drag.side]])}`);
  }
  drag = null;
}
element.axis.addEventListener("pointerup", endDrag);
element.axis.addEventListener("pointercancel", endDrag);

element.axis.addEventListener("wheel", (event) => {
  event.preventDefault();
  const [x, , width] = pointOf(event);
  const length = view.end - view.start;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    const shift = ((event.deltaX || event.deltaY) / width) * length;
    setView(view.start + shift, view.end + shift);
  } else zoom(Math.exp(Math.max(-1, Math.min(event.deltaY / 300, 1))), toSeconds(x, width));
}, { passive: false });

function scrollTo(event) {
  const box = element.overview.getBoundingClientRect();
  const middle = ((event.clientX - box.left) / box.width) * edges[numFrames];
  const half = (view.end - view.start) / 2;
  setView(middle - half, middle + half);
}
element.overview.addEventListener("pointerdown", (event) => {
  element.overview.setPointerCapture(event.pointerId);
  scrollTo(event);
});
element.overview.addEventListener("pointermove", (event) => {
  if (event.buttons) scrollTo(event);
});
