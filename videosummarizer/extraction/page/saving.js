// Saving labels, and the command that cuts from the saved file.

const numDownloads = {}; // by name

/** Saves all sections as the match's label file, or only the starred ones for a reel. */
async function save({ isStarredOnly = false } = {}) {
  if (hasUndecided() && !isStarredOnly) return saveStretches();
  const chosen = isStarredOnly ? sections.filter(({ isStarred }) => isStarred) : sections;
  const [text, name] = [textOf(chosen), isStarredOnly ? `${match.title}_starred.txt` : match.labels_name];
  const count = countSections(chosen.length);
  let savedName = null;
  if (window.showSaveFilePicker) {
    try {
      const types = [{ description: "Label file", accept: { "text/plain": [".txt"] } }];
      const handle = await showSaveFilePicker({ id: "labels", suggestedName: name, types });
      const file = await handle.createWritable();
      await file.write(text);
      await file.close();
      savedName = handle.name;
    } catch (error) {
      if (error.name === "AbortError") return announce("Not saved");
      if (error.name !== "SecurityError")
        return showNotice(`${name} could not be written (${error.message}): nothing is saved. Save it in another folder.`);
    }
  }
  if (savedName === null) download(text, name);
  if (!isStarredOnly) {
    savedText = text;
    keepDraft();
  }
  const done = `${savedName === null ? "Downloaded" : "Saved"} ${count} as ${savedName ?? name}`;
  announce(done);
  const sentences = [`${done}.`];
  if (savedName === null) sentences.push(describeDownload(name));
  if (isStarredOnly) sentences.push("This file is for a reel, not for training.");
  else if (savedName !== null && savedName !== name) sentences.push(`Training expects the name ${name}.`);
  const path = (isStarredOnly ? match.command.page_dir : match.command.labels_dir) + (savedName ?? name);
  sentences.push(`To cut from it, move it to ${path} and run this where highlight_extractor.py ran:`);
  const outputDir = isStarredOnly ? match.command.starred_output_dir : match.command.output_dir;
  showNotice(sentences.join(" "), [["Copy the command", copyCommand]], cutCommand(path, outputDir));
}
const saveStarred = () => save({ isStarredOnly: true });

function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Says what the browser may have called a download. It does not tell the page. */
function describeDownload(name) {
  const earlier = numDownloads[name] || 0;
  numDownloads[name] = earlier + 1;
  const numbered = name.replace(/\.txt$/, ` (${earlier || 1}).txt`);
  return earlier
    ? `As this name was taken by the download before, the browser probably calls it ${numbered}: rename it to ${name}.`
    : `If this name was taken, the browser calls it ${numbered}: rename it to ${name}.`;
}

// ---- The command that cuts from a label file

/** Quotes a word for the shell of the computer on which the page was written. */
function quoteForShell(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (match.command.shell === "windows") return `"${text}"`; // no name there contains a quotation mark
  const characters = [...text]; // a byte that is not UTF-8, in the name of a folder, is half a surrogate pair (PEP 383)
  const escaped = characters.map((character) => {
    if (!/^[\udc80-\udcff]$/.test(character)) return character.replace(/[\\']/, "\\$&");
    return `\\x${(character.charCodeAt(0) - 0xdc00).toString(16)}`;
  });
  if (characters.some((character) => /^[\udc80-\udcff]$/.test(character))) return `$'${escaped.join("")}'`;
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

function cutCommand(labels, outputDir) {
  const [video, sectionsPath, folder] = [match.command.video, labels, outputDir].map((path) => (path.startsWith("-") ? `./${path}` : path));
  const words = [...match.command.program, video, "--sections", sectionsPath, "--output_dir", folder, ...match.command.options];
  return [...words.map(quoteForShell), "--overwrite"].join(" ");
}

/** Copies the command that is shown; returns true, so that it stays on the screen. */
function copyCommand(button) {
  const done = () => (button.textContent = "Copied");
  const select = () => {
    getSelection().selectAllChildren(element.command);
    if (document.execCommand("copy")) done();
    else announce("Press Ctrl+C to copy the command");
  };
  if (navigator.clipboard) navigator.clipboard.writeText(element.command.textContent).then(done, select);
  else select();
  return true;
}
