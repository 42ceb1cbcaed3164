// Playing the match and its sections.

let playhead = 0; // the position where no video is loaded
let hasVideo = false;
let queue = []; // sections still to play after the current one
let stopAt = null; // the frame edge at which to stop
let shownSec = null; // when the frame on the screen begins, null where the browser does not report it
let isShownAgain = false; // whether the video was sent to the playhead a second time
let reverse = null; // while the match plays backwards: {speed, at}, with the time of the last step
let isShuttling = false; // whether L raised the speed until the next pause
const SHUTTLE_SPEEDS = [1, 2, 4, 8];

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
  reverse = null;
  video.play().catch(() => announce("The browser did not let the video play: press Play again"));
}

function pause() {
  queue = [];
  stopAt = null;
  video.pause();
  if (isShuttling) video.playbackRate = Number(element.speed.value);
  isShuttling = false;
  if (!reverse) return;
  reverse = null;
  goToFrame(frameAt(playhead));
  showPlaying();
}

const playOrPause = () => (video.paused && !reverse ? play() : pause());

// ---- Speed: J plays backwards, L forwards, each the faster the more often it is pressed, K pauses

const fasterThan = (speed) => SHUTTLE_SPEEDS.find((other) => other > speed) || SHUTTLE_SPEEDS.at(-1);

function shuttleForward() {
  if (reverse) pause();
  if (video.paused || !hasVideo) return play();
  isShuttling = true;
  video.playbackRate = fasterThan(video.playbackRate);
  announce(`Plays at ${video.playbackRate}×`);
}

function shuttleBackward() {
  if (!hasVideo) return announce("There is no video to play");
  const speed = reverse ? fasterThan(reverse.speed) : 1;
  if (!reverse) {
    playhead = now();
    pause();
    requestAnimationFrame(playBackward);
  }
  reverse = { at: null, ...reverse, speed };
  announce(`Plays backwards at ${speed}×`);
  showPlaying();
}

/** Goes back by the time that has passed: browsers cannot play backwards. */
function playBackward(timestamp) {
  if (!reverse) return;
  playhead = Math.max(0, playhead - ((timestamp - (reverse.at ?? timestamp)) / 1000) * reverse.speed);
  reverse.at = timestamp;
  if (!video.seeking) video.currentTime = playhead;
  if (playhead < view.start) setView(playhead - (view.end - view.start), playhead);
  changed = true;
  if (playhead > 0) requestAnimationFrame(playBackward);
  else pause();
}

function setSpeed() {
  isShuttling = false;
  video.playbackRate = video.defaultPlaybackRate = Number(element.speed.value);
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (element.stage.requestFullscreen) element.stage.requestFullscreen().catch((error) => announce(`No full screen: ${error.message}`));
  else if (video.webkitEnterFullscreen) video.webkitEnterFullscreen(); // an iPhone has it for videos only
}
document.addEventListener("fullscreenchange", () => {
  element.fullScreen.textContent = document.fullscreenElement ? "Leave full screen" : "Full screen";
});

// ---- Sections

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
