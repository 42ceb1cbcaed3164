// The label file that is saved.

/** Returns the label file: start_frame,end_frame,start_time,end_time on each line. */
function labelText() {
  return sections
    .map(({ start, end }) => `${start},${end},${clockTime(edges[start])},${clockTime(edges[end])}\n`)
    .join("");
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([labelText()], { type: "text/plain" }));
  link.download = match.labels_name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = sections;
  announce(`Saved ${sections.length} sections as ${match.labels_name}`);
}
