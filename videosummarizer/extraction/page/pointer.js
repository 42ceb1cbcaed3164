// What a mouse, a pen or a finger does on the timeline and on the strip below it.

// How far the pointer moves before a boundary does, so that a click does not change a section.
const DRAG_PX = 4;
// How far from a boundary a finger may press.
const FINGER_PX = 22;

let drag = null; // what the pointer moves: a boundary (`side`), the playhead (`scrub`), the view (`scroll`, `pinch`)
let press = null; // a finger on the timeline, of which it is not known yet whether it will move
const fingers = new Map(); // pointer id: x of each finger on the timeline

/** Returns what is under a point of the timeline: a boundary of a section, a section, or neither. */
function under(x, y, { isFinger = false } = {}) {
  const width = element.axis.clientWidth;
  const [top, bottom] = LANES.sections;
  const candidates = [selectedSection(), ...sections].filter(Boolean);
  for (const section of candidates) {
    const left = toX(edges[section.start], width);
    const right = Math.max(toX(edges[section.end], width), left + 2);
    const isSelected = section.id === selected;
    const isBelow = y > bottom + (isFinger ? 14 : 4);
    if (y < top - 4 || (isBelow && (isFinger || !isSelected))) continue;
    const inside = isSelected ? Math.min(4, (right - left) / 3) : Math.min(5, (right - left) / 4);
    let outside = isSelected ? HANDLE_PX + 2 : 3;
    if (isBelow) outside = 3;
    if (isFinger && isSelected) outside = FINGER_PX; // another section is too narrow for a finger: a tap selects it
    if (!isFinger || isSelected) {
      if (x >= left - outside && x <= left + inside) return { section, side: "start" };
      if (x >= right - inside && x <= right + outside) return { section, side: "end" };
    }
    if (!isBelow && x >= left && x <= right) return { section };
  }
  return {};
}

function pointOf(event) {
  const box = element.axis.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top, box.width];
}

// ---- Dragging

function dragBoundary(section, side, x, width) {
  select(section.id, { jump: false });
  drag = { side, section, before: sections, from: x, offset: x - toX(edges[section[side]], width) };
}

function moveBoundary(x, width) {
  if (drag.from !== null && Math.abs(x - drag.from) < DRAG_PX) return;
  drag.from = null;
  const section = selectedSection();
  const placed = clampEdge(section, drag.side, edgeNear(toSeconds(x - drag.offset, width)));
  if (placed === section[drag.side]) return;
  const moved = { ...section, [drag.side]: placed };
  sections = withEdges(section.id, moved.start, moved.end);
  goToFrame(drag.side === "start" ? placed : placed - 1);
  showSections();
}

function endDrag() {
  if (drag && drag.before && drag.before !== sections) {
    const moved = sections;
    sections = drag.before; // one step of history for the whole drag
    change(moved, selected, `${drag.side === "start" ? "Starts" : "Ends"} at ${preciseTime(edges[moved.find(({ id }) => id === selected)[drag.side]])}`);
  }
  drag = null;
}

/** Presses or taps a point of the timeline: the video goes there, and a section there is selected. */
function goToPoint(x, width, { section, side }) {
  pause();
  if (section) select(section.id, { jump: false });
  if (side) showEdge(side, section[side]);
  else goTo(toSeconds(x, width));
}

function followDrag(x, width) {
  if (drag.scrub) goTo(toSeconds(Math.max(0, Math.min(x, width)), width));
  else if (drag.scroll) {
    const shift = ((drag.from - x) / width) * (drag.view.end - drag.view.start);
    setView(drag.view.start + shift, drag.view.end + shift);
  } else if (drag.pinch) followPinch(width);
  else moveBoundary(x, width);
}

// ---- Fingers. The browser scrolls the page when a finger moves up or down (touch-action), and then cancels the pointer.

function beginPinch(width) {
  endDrag();
  press = null;
  drag = { pinch: [...fingers.values()].map((x) => toSeconds(x, width)) };
}

/** Zooms so that the times that were under both fingers stay there. */
function followPinch(width) {
  const [[left, right], [start, end]] = [[...fingers.values()], drag.pinch];
  if (Math.abs(right - left) < 20 || (right - left) * (end - start) <= 0) return;
  const secondsPerPixel = (end - start) / (right - left);
  setView(start - left * secondsPerPixel, start + (width - left) * secondsPerPixel);
}

function moveFinger(event, x, width) {
  fingers.set(event.pointerId, x);
  if (press && Math.abs(x - press.x) >= 2 * DRAG_PX) {
    const { section, side } = press.target;
    if (side) {
      pause();
      dragBoundary(section, side, press.x, width);
    } else drag = press.y <= LANES.ruler[1] ? { scrub: true } : { scroll: true, from: press.x, view };
    press = null;
  }
  if (drag) followDrag(x, width);
}

// ---- Events of the timeline

element.axis.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  const [x, y, width] = pointOf(event);
  const isFinger = event.pointerType === "touch";
  const target = under(x, y, { isFinger });
  if (isFinger) {
    if (fingers.size >= 2) return;
    fingers.set(event.pointerId, x);
    if (fingers.size === 2) beginPinch(width);
    else press = { x, y, target };
    return;
  }
  element.axis.setPointerCapture(event.pointerId);
  hideWhy();
  goToPoint(x, width, target);
  if (target.side) dragBoundary(target.section, target.side, x, width);
  else drag = { scrub: true };
});

element.axis.addEventListener("pointermove", (event) => {
  const [x, y, width] = pointOf(event);
  if (fingers.has(event.pointerId)) moveFinger(event, x, width);
  else if (drag) followDrag(x, width);
  else {
    if (event.pointerType !== "touch") showWhy(x, width);
    const { section, side } = under(x, y);
    element.axis.style.cursor = side ? "ew-resize" : section ? "pointer" : "crosshair";
  }
});

function endPress(event) {
  fingers.delete(event.pointerId);
  if (press && event.type === "pointerup") {
    const width = element.axis.clientWidth;
    goToPoint(press.x, width, press.target);
    announce(whyAt(toSeconds(press.x, width))); // what a mouse shows without a press
  }
  press = null;
  endDrag();
}
for (const name of ["pointerup", "pointercancel"]) element.axis.addEventListener(name, endPress);

element.axis.addEventListener("pointerleave", hideWhy);

// Two fingers on a trackpad arrive as a wheel with Ctrl, in small steps.
element.axis.addEventListener("wheel", (event) => {
  event.preventDefault();
  hideWhy();
  const [x, , width] = pointOf(event);
  const length = view.end - view.start;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    const shift = ((event.deltaX || event.deltaY) / width) * length;
    setView(view.start + shift, view.end + shift);
  } else zoom(Math.exp(Math.max(-1, Math.min(event.deltaY / (event.ctrlKey ? 100 : 300), 1))), toSeconds(x, width));
}, { passive: false });

// ---- Events of the strip

/** Shows the part of the match around a point of the strip. */
function centerView(event) {
  const box = element.overview.getBoundingClientRect();
  const middle = ((event.clientX - box.left) / box.width) * edges[numFrames];
  const half = (view.end - view.start) / 2;
  setView(middle - half, middle + half);
}
element.overview.addEventListener("pointerdown", (event) => {
  element.overview.setPointerCapture(event.pointerId);
  if (event.pointerType !== "touch") centerView(event);
});
element.overview.addEventListener("pointermove", (event) => {
  if (event.buttons) centerView(event);
});
element.overview.addEventListener("pointerup", centerView);
