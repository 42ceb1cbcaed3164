// The video file that is played: the match where it was, or a file that is chosen or dropped.

const CHOSEN_DURATION_TOLERANCE_SEC = 0.5;
let chosenFile = null;

/** Plays a file from this computer instead of the one next to the page. */
function chooseVideo(file) {
  if (chosenFile) URL.revokeObjectURL(video.src);
  chosenFile = file;
  pause();
  hasVideo = false;
  element.missing.hidden = true;
  video.src = URL.createObjectURL(file);
}

video.addEventListener("loadedmetadata", () => {
  hasVideo = true;
  element.missing.hidden = true;
  video.currentTime = playhead;
  if (!chosenFile) return;
  if (Math.abs(video.duration - edges[numFrames]) <= CHOSEN_DURATION_TOLERANCE_SEC) return announce(`Plays ${chosenFile.name}`);
  showNotice(
    `${chosenFile.name} lasts ${preciseTime(video.duration)}, but the match ${preciseTime(edges[numFrames])}: the sections do not fit it, ` +
      "unless it is the same match. Choose the file from which this page was made.",
    [["Choose another video", () => element.videoFile.click()]]
  );
});

function decodedUrl() {
  try {
    return decodeURIComponent(match.video_url);
  } catch {
    return match.video_url; // a folder whose name is not UTF-8
  }
}

video.addEventListener("error", () => {
  hasVideo = false;
  element.missing.hidden = false;
  element.missingText.textContent = chosenFile
    ? `This browser does not play ${chosenFile.name}. The sections can be edited without it.`
    : `The video cannot be played: ${decodedUrl()}. It has to be where it was when this page was written, ` +
      "in a format that this browser plays. The sections can be edited without it.";
});

element.videoFile.addEventListener("change", () => {
  const [file] = element.videoFile.files;
  if (file) chooseVideo(file);
  element.videoFile.value = ""; // so that the same file can be chosen once more
});

// A dropped video is played, a dropped label file is opened, with its undecided time if both are dropped.
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  const files = [...event.dataTransfer.files];
  if (!files.length) return;
  event.preventDefault();
  const labelFiles = files.filter(({ name }) => /\.(txt|json)$/i.test(name));
  if (labelFiles.length) openLabels(labelFiles);
  else chooseVideo(files[0]);
});
