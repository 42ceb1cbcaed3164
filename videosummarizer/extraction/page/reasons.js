// Why sections are where they are: what their scores are made of, how they compare with the match, and what decides.

const { reasons } = match; // null for a match of which it is not known

/** Returns the sums of the first 0, 1, 2, ... values, from which means over any steps follow. */
function sumsOf(values) {
  const sums = new Float64Array(values.length + 1);
  values.forEach((value, index) => (sums[index + 1] = sums[index] + value));
  return sums;
}
const measures = (reasons ? reasons.measures : []).map((measure) => ({ ...measure, sums: sumsOf(measure.values) }));
const parts = Object.entries(reasons ? reasons.parts : {}).map(([name, values]) => {
  const [ascending, middle] = [[...values].sort((a, b) => a - b), values.length >> 1];
  const median = values.length % 2 ? ascending[middle] : (ascending[middle - 1] + ascending[middle]) / 2;
  return { name, values, median, sums: sumsOf(values) };
});

/** Returns the words for steps of the match, from the first up to the end; reasons.py describes what they mean. */
function wordsOf(first, end) {
  const [length, numSteps] = [end - first, match.decoded_scores.length];
  if (!reasons || length > reasons.max_length_ratio * numSteps) return [];
  const meanFrom = (sums, step) => (sums[step + length] - sums[step]) / length;
  const words = [];
  const numStretches = numSteps - length + 1;
  for (const { sums, smallest_difference, high, low } of measures) {
    const mean = meanFrom(sums, first);
    let [numBelow, numAbove] = [0, 0];
    for (let step = 0; step < numStretches; step++) {
      const other = meanFrom(sums, step);
      if (other < mean - smallest_difference) numBelow++;
      if (other > mean + smallest_difference) numAbove++;
    }
    if (high && numBelow >= reasons.high_ratio * numStretches) words.push(high);
    if (low && numAbove >= reasons.high_ratio * numStretches) words.push(low);
  }
  const rises = parts.map(({ sums, median }) => meanFrom(sums, first) - median);
  const total = rises.reduce((sum, rise) => sum + Math.abs(rise), 0);
  parts.forEach(({ name }, index) => {
    const word = reasons.modality_words[name];
    if (word && rises[index] > total - Math.abs(rises[index])) words.push(word);
  });
  return words;
}

/** Returns the words for the seconds around a step. */
function wordsAround(step) {
  const numSteps = match.decoded_scores.length;
  const length = Math.min(Math.max(1, Math.floor(reasons.step_stretch_sec / match.step_sec + 0.5)), numSteps);
  const first = Math.max(0, Math.min(step - (length >> 1), numSteps - length));
  return wordsOf(first, first + length);
}

function wordsOfSection(section) {
  const stepAt = (frame) => Math.floor((edges[frame] - match.start_sec) / match.step_sec + 0.5);
  const numSteps = match.decoded_scores.length;
  const first = Math.max(0, Math.min(stepAt(section.start), numSteps - 1));
  return wordsOf(first, Math.max(first + 1, Math.min(stepAt(section.end), numSteps)));
}

/** Formats a contribution in log-odds with its sign, or a part of the activity. */
function formatPart(value) {
  const text = Math.abs(value).toFixed(2);
  if (Number(text) === 0 || !reasons.are_log_odds) return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

/** Returns the contributions or parts by their names. */
const listParts = (valueOf) => parts.map((part) => `${part.name} ${formatPart(valueOf(part))}`).join(", ");

/** Returns why a section has its score: its words, and what the score is made of; nothing where that is not known. */
function whySection(section) {
  if (!reasons || scoreOf(section) === null) return "";
  return [wordsOfSection(section).join(", "), listParts(({ values }) => meanOf(section, values))].filter(Boolean).join(" \u00b7 ");
}

// ---- What decides

const LEFT_OUT = {
  threshold: "left out",
  length: "left out: other sections have higher scores, and --length is reached",
  activity: "left out: other sections have higher scores, and a tenth of the match is selected",
  labels: "not a section of the label file",
  stretches: "outside the stretches to label",
};
const isInside = (list, frame) => list.some(([start, end]) => start <= frame && frame < end);

/** Formats two scores with as many decimals as it takes to see that they differ. */
function formatApart(score, threshold) {
  let decimals = 2;
  while (decimals < 6 && score !== threshold && score.toFixed(decimals) === threshold.toFixed(decimals)) decimals++;
  return [score.toFixed(decimals), threshold.toFixed(decimals)];
}

/** Returns the step at a time; null where nothing is scored. */
function stepAtTime(seconds) {
  const step = Math.floor((seconds - match.start_sec) / match.step_sec + 1e-6);
  return step >= 0 && step < match.decoded_scores.length ? step : null;
}

/** Says why there is a section at a time, or why there is none. */
function whyAt(seconds) {
  const step = stepAtTime(seconds);
  if (step === null) return match.scores.length ? "This part of the match is not scored" : "";
  const [score, inContext, { threshold }] = [match.scores[step], match.decoded_scores[step], match];
  const isDetected = inContext >= threshold;
  const [shown, limit] = formatApart(inContext, threshold);
  const values = `${match.score_name} ${score.toFixed(2)}, in context ${shown}, ${isDetected ? "at least" : "below"} the threshold ${limit}`;
  const decision = decisionAt(frameAt(seconds), step, isDetected);
  return decision ? `${values}: ${decision}` : values;
}

function decisionAt(frame, step, isDetected) {
  const isSection = isInside(sections.map(({ start, end }) => [start, end]), frame);
  const wasFound = isInside(match.sections, frame);
  const reaches = match.scores[step] >= match.threshold;
  if (isSection && !wasFound) return "added on this page";
  if (!isSection && wasFound) return "taken out on this page";
  if (isSection && isDetected) return reaches ? "in a section" : "a dip too short to divide the section";
  if (isSection) return match.selected_by === "labels" ? "a section of the label file" : "added by --padding";
  if (isDetected) return LEFT_OUT[match.selected_by];
  if (!reaches) return "";
  const [, , ratio] = match.too_short.find(([first, end]) => first <= step && step < end);
  return `too short for a section of its own, with ${Math.round(ratio * 100)} % of the evidence that one needs`;
}

/** Returns the parts of stretches of time, [start, end] in seconds, that others do not cover; both are in order. */
function uncovered(stretches, others) {
  // Frames and steps have other borders.
  return subtract(stretches, others).filter(([start, end]) => end - start >= match.step_sec / 2);
}

/** Returns the stretches of time in whose steps a condition holds. */
function stretchesOf(holds) {
  const stretches = [];
  const time = (step) => Math.min(match.start_sec + step * match.step_sec, edges[numFrames]);
  match.decoded_scores.forEach((_, step) => {
    if (!holds(step)) return;
    const last = stretches.at(-1);
    if (last && last[1] === time(step)) last[1] = time(step + 1);
    else stretches.push([time(step), time(step + 1)]);
  });
  return stretches;
}

let detected = null;
let tooShort = null;
/** Returns where curves and sections differ: what is too short, what is left out, and what was not detected. */
function differences() {
  if (!match.scores.length) return { short: [], leftOut: [], undetected: [] };
  detected ??= stretchesOf((step) => match.decoded_scores[step] >= match.threshold);
  tooShort ??= stretchesOf((step) => match.scores[step] >= match.threshold && match.decoded_scores[step] < match.threshold);
  const covered = sections.map(({ start, end }) => [edges[start], edges[end]]);
  return { short: uncovered(tooShort, covered), leftOut: uncovered(detected, covered), undetected: uncovered(covered, detected) };
}

// ---- What the pointer shows

/** Shows above the timeline why there is a section, or none, at a point of it. */
function showWhy(x, width) {
  const seconds = toSeconds(x, width);
  const sentence = whyAt(Math.max(0, Math.min(seconds, edges[numFrames])));
  element.why.hidden = !sentence;
  if (!sentence) return;
  const step = stepAtTime(seconds);
  const lines = [`${preciseTime(seconds)}: ${sentence}`];
  if (reasons && step !== null) {
    const listed = listParts(({ values }) => values[step]);
    const sum = parts.reduce((total, { values }) => total + values[step], 0);
    lines.push(reasons.are_log_odds ? `log-odds ${formatPart(sum)} = ${listed}` : `${match.score_name} of ${listed}`);
    lines.push(wordsAround(step).join(", "));
  }
  element.why.replaceChildren(...lines.filter(Boolean).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
  element.why.style.left = `${Math.max(0, Math.min(x + 12, width - element.why.offsetWidth))}px`;
}

const hideWhy = () => (element.why.hidden = true);
