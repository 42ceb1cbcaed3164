// Playing the match and its sections.

let playhead = 0; // the position where no video is loaded
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
