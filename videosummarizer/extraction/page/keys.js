// What the keys of the keyboard do.

const KEYS = {
  " ": playOrPause, ArrowLeft: () => step(-1), ArrowRight: () => step(1),
  "shift+ArrowLeft": () => jump(-5), "shift+ArrowRight": () => jump(5),
  ArrowUp: () => selectNeighbor(-1), ArrowDown: () => selectNeighbor(1), Enter: playSelected, p: playAll,
  a: () => nudge("start", -1), s: () => nudge("start", 1), d: () => nudge("end", -1), f: () => nudge("end", 1),
  "shift+a": () => nudge("start", -10), "shift+s": () => nudge("start", 10),
  "shift+d": () => nudge("end", -10), "shift+f": () => nudge("end", 10),
  i: startHere, o: endHere, n: addSection, Delete: () => removeSection(), Backspace: () => removeSection(),
  "+": CLICKS.zoomIn, "=": CLICKS.zoomIn, "-": CLICKS.zoomOut, 0: CLICKS.zoomAll, z: zoomSection, m: mute,
  "?": showKeys, "ctrl+z": undo, "ctrl+shift+z": redo, "ctrl+y": redo,
  "ctrl+s": CLICKS.save, "ctrl+o": CLICKS.openLabels, j: shuttleBackward, k: pause, l: shuttleForward, "`": toggleFullScreen,
  x: () => nextStretch(), "shift+x": () => nextStretch(-1), v: toggleLookedAt,
  b: () => toggleMark("isStarred"), r: () => toggleMark("isReviewed"),
  w: () => announce(whyAt(now()) || "There are no scores that say why"),
  Home: () => goToFrame(0), End: () => goToFrame(numFrames - 1),
  PageUp: () => jump((view.end - view.start) / 10), PageDown: () => jump((view.start - view.end) / 10),
};
const SLIDER_KEYS = ["Home", "End", "PageUp", "PageDown"]; // elsewhere they scroll

/** Returns the Latin letter of a key, also in the Hangul and other layouts, where `key` is another letter; else null. */
function letterOf({ key, code }) {
  if (/^[a-z]$/i.test(key)) return key.toLowerCase();
  const isNamed = key.length > 1 && key !== "Process"; // "Process": an input method has it, as on Windows
  const [, letter] = (!isNamed && /^Key([A-Z])$/.exec(code)) || [];
  return letter ? letter.toLowerCase() : null;
}

/** Returns the name of a key in KEYS. */
function keyName(event) {
  const letter = letterOf(event);
  const shift = event.shiftKey && (letter || event.key.length > 1) ? "shift+" : "";
  const key = event.code === "Backquote" && !event.shiftKey ? "`" : event.key; // ₩ in the Hangul layout
  return (event.ctrlKey || event.metaKey ? "ctrl+" : "") + shift + (letter || key);
}

document.addEventListener("keydown", (event) => {
  const name = keyName(event);
  const [action, { target }] = [KEYS[name], event];
  if (event.key === "Escape" && target.matches("#editor input, select")) {
    showSections(); // what was typed is dropped
    target.blur();
  }
  if (!action || event.altKey || element.keys.open) return;
  if (target.matches("input") && !event.ctrlKey && !event.metaKey) return;
  if (target.matches("select") && !letterOf(event)) return;
  if (SLIDER_KEYS.includes(name) && !target.matches("body, #axis")) return;
  if (target.matches("button") && (event.key === " " || event.key === "Enter")) return;
  event.preventDefault();
  action();
});
