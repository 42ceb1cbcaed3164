// The timeline and the strip below it: what they show. A frame that is played moves the playhead and draws nothing.

let view = { start: 0, end: 1 };
let changed = true;

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

let colors = {};
function readColors() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const read = {};
  for (const name of ["ground", "surface", "raised", "border", "text", "muted", "score", "found", "labelled", "playhead"]) {
    probe.style.color = `var(--${name})`;
    read[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  colors = read;
  changed = true;
}

const LANES = { ruler: [0, 22], sections: [26, 50], labelled: [54, 64] };
const plotLane = () => [72, element.axis.clientHeight - 4];

function prepareContext(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// What a canvas was last drawn with. It is drawn again only if one of these values is another.
const drawnWith = new Map();
function isDrawn(canvas, ...values) {
  const last = drawnWith.get(canvas);
  if (last && values.every((value, index) => value === last[index])) return true;
  drawnWith.set(canvas, values);
  return false;
}

// ---- The curves: drawn to a canvas that is not shown, so that a section can be dragged without drawing them

const LINE_PX = 1.25;
const curves = document.createElement("canvas");
curves.id = "curves";

/**
 * Returns what is drawn of the scores in view: [left, right, lowest, highest] of each step, or of each pixel where several
 * steps lie in one, so that no peak is lost and a long match costs no more than a short one.
 */
function envelope(scores, width) {
  const length = match.step_sec;
  const stepStart = (k) => match.start_sec + k * length;
  const first = Math.max(0, Math.floor((view.start - match.start_sec) / length));
  const last = Math.min(scores.length, Math.ceil((view.end - match.start_sec) / length));
  const isPerStep = toX(length, width) - toX(0, width) >= 1;
  const columns = [];
  let column = null;
  for (let k = first; k < last; k++) {
    const left = toX(stepStart(k), width);
    const score = scores[k];
    if (isPerStep) columns.push([left, toX(Math.min(stepStart(k + 1), edges[numFrames]), width), score, score]);
    else if (column && column[0] === Math.floor(left)) {
      column[2] = Math.min(column[2], score);
      column[3] = Math.max(column[3], score);
    } else columns.push((column = [Math.floor(left), Math.floor(left) + 1, score, score]));
  }
  return columns;
}

/**
 * Draws scores as a line, of rectangles, which are quicker to draw than a path. Where several steps lie in a pixel, it follows
 * the highest of them, and a lighter band goes down to the lowest.
 */
function drawLine(context, columns, y, color, alpha = 1) {
  context.fillStyle = color;
  context.globalAlpha = 0.35 * alpha;
  for (const [left, right, lowest, highest] of columns)
    if (lowest < highest) context.fillRect(left, y(highest), right - left, y(lowest) - y(highest));
  context.globalAlpha = alpha;
  let before = null;
  for (const [left, right, , highest] of columns) {
    const level = y(highest);
    const [top, height] = [Math.min(level, before ?? level), Math.abs(level - (before ?? level))];
    const isWide = right - left > 1;
    if (isWide) context.fillRect(left, level - LINE_PX / 2, right - left, LINE_PX);
    // The upright from the step before; in a column of one pixel it is all that there is.
    if (height || !isWide) context.fillRect(isWide ? left - LINE_PX / 2 : left, top - LINE_PX / 2, isWide ? LINE_PX : 1, height + LINE_PX);
    before = level;
  }
  context.globalAlpha = 1;
}

function drawArea(context, columns, y, color) {
  if (!columns.length) return;
  context.beginPath();
  context.moveTo(columns[0][0], y(0));
  for (const [left, right, , highest] of columns) {
    context.lineTo(left, y(highest));
    context.lineTo(right, y(highest));
  }
  context.lineTo(columns.at(-1)[1], y(0));
  context.globalAlpha = 0.22;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}

function drawCurves(width, height) {
  const context = prepareContext(curves, width, height);
  if (!match.scores.length) return;
  const [top, bottom] = plotLane();
  const y = (score) => bottom - score * (bottom - top);
  // The score in context decides: it is drawn with an area, and in front of the score of each step alone.
  drawLine(context, envelope(match.scores, width), y, colors.score, 0.6);
  const columns = envelope(match.decoded_scores, width);
  drawArea(context, columns, y, colors.found);
  drawLine(context, columns, y, colors.found);
  context.strokeStyle = colors.muted;
  context.lineWidth = LINE_PX;
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(0, y(match.threshold));
  context.lineTo(width, y(match.threshold));
  context.stroke();
  context.setLineDash([]);
}

// ---- The timeline

function drawRuler(context, width, bottom) {
  const steps = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600];
  const step = steps.find((seconds) => (seconds / (view.end - view.start)) * width >= 84) || 3600;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let mark = Math.ceil(view.start / step); mark * step <= view.end; mark++) {
    const x = toX(mark * step, width);
    context.fillStyle = colors.border;
    context.fillRect(Math.round(x), 0, 1, bottom);
    context.fillStyle = colors.muted;
    context.fillText(preciseTime(mark * step).slice(0, step < 1 ? -1 : -3), x + 4, 11);
  }
}

function drawSections(context, width, [top, bottom]) {
  const [barTop, barBottom] = LANES.sections;
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
    context.roundRect(left, barTop, sectionWidth, barBottom - barTop, Math.min(4, sectionWidth / 2));
    context.fill();
    context.globalAlpha = 1;
    if (isSelected) drawHandles(context, left, left + sectionWidth, bottom);
  }
}

/** Draws handles outside a section's boundaries, so that they can be grabbed however narrow it is. */
function drawHandles(context, left, right, plotBottom) {
  const [top, bottom] = LANES.sections;
  context.fillStyle = colors.text;
  context.beginPath();
  context.roundRect(left - HANDLE_PX, top - 2, HANDLE_PX, bottom - top + 4, [4, 0, 0, 4]);
  context.roundRect(right, top - 2, HANDLE_PX, bottom - top + 4, [0, 4, 4, 0]);
  context.fill();
  context.fillRect(left - 0.5, top, 1, plotBottom - top);
  context.fillRect(right - 0.5, top, 1, plotBottom - top);
  context.fillStyle = colors.ground;
  context.fillRect(left - HANDLE_PX / 2 - 0.5, top + 5, 1.5, bottom - top - 10);
  context.fillRect(right + HANDLE_PX / 2 - 0.5, top + 5, 1.5, bottom - top - 10);
}

/** Draws where curves and sections differ: what is too short for a section, what is left out, and what was not detected. */
function drawDifferences(context, width, { short, leftOut, undetected }) {
  const [top, bottom] = LANES.sections;
  const box = ([start, end]) => {
    const left = toX(start, width);
    return [left, Math.max(2, toX(end, width) - left)];
  };
  for (const [stretches, tone, inset] of [[short, "muted", 6], [undetected, "surface", 3]]) {
    context.fillStyle = colors[tone];
    context.globalAlpha = 0.5;
    for (const [left, breadth] of stretches.map(box)) context.fillRect(left, top + inset, breadth, bottom - top - 2 * inset);
  }
  context.globalAlpha = 1;
  context.strokeStyle = colors.found;
  context.lineWidth = 1.5;
  for (const [left, breadth] of leftOut.map(box)) context.strokeRect(left + 0.75, top + 4, Math.max(0.5, breadth - 1.5), bottom - top - 8);
}

function showDifferenceLegends({ short, leftOut, undetected }) {
  element.shortLegend.hidden = !short.length;
  element.leftOutLegend.hidden = !leftOut.length;
  element.undetectedLegend.hidden = !undetected.length;
}

function drawAxis(width, height) {
  const context = prepareContext(element.axis, width, height);
  const plot = plotLane();
  drawRuler(context, width, plot[1]);
  drawSections(context, width, plot);
  const found = differences();
  drawDifferences(context, width, found);
  showDifferenceLegends(found);
  const [top, bottom] = LANES.labelled;
  context.fillStyle = colors.labelled;
  for (const [start, end] of match.labelled || []) {
    const [left, right] = [toX(edges[start], width), toX(edges[end], width)];
    context.fillRect(left, top, Math.max(2, right - left), bottom - top);
  }
  drawUndecided(context, (seconds) => toX(seconds, width), [LANES.sections[0], plot[1]]);
  drawStretches(context, width, LANES.labelled);
  if (curves.width && curves.height) context.drawImage(curves, 0, 0, width, height);
}

function drawOverview(width, height) {
  const context = prepareContext(element.overview, width, height);
  const scale = width / edges[numFrames];
  context.fillStyle = colors.ground;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colors.found;
  for (const { start, end } of sections)
    context.fillRect(edges[start] * scale, 3, Math.max(1.5, (edges[end] - edges[start]) * scale), height - 6);
  drawUndecided(context, (seconds) => seconds * scale, [0, height]);
  context.strokeStyle = colors.text;
  context.lineWidth = 1.5;
  context.strokeRect(view.start * scale + 0.75, 0.75, Math.max(4, (view.end - view.start) * scale - 1.5), height - 1.5);
}

function placePlayhead(playheadElement, x, width) {
  playheadElement.hidden = x < -1 || x > width + 1;
  playheadElement.style.transform = `translateX(${x}px)`;
}

/** Draws what is not as it was, and moves the playhead. */
function drawTimeline() {
  const { axis, overview } = element;
  const [width, height, ratio] = [axis.clientWidth, axis.clientHeight, devicePixelRatio];
  if (!isDrawn(curves, width, height, ratio, view, colors)) drawCurves(width, height);
  if (!isDrawn(axis, width, height, ratio, view, colors, sections, selected, lookedAt)) drawAxis(width, height);
  if (!isDrawn(overview, width, ratio, view, colors, sections, lookedAt)) drawOverview(width, overview.clientHeight);
  placePlayhead(element.axisPlayhead, toX(now(), width), width);
  placePlayhead(element.overviewPlayhead, (now() / edges[numFrames]) * width, width);
}
