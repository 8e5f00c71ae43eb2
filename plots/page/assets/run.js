// A run's record in a dialog, by the address: #run=ID, or #run=ID+ID for the runs of a point, the first of which is shown.

const dialog = document.getElementById("record");

function rows(header, body) {
  const cells = (tag, values) => values.map((value) => make(tag, {}, value instanceof Node ? value : String(value)));
  const head = make("thead", {}, make("tr", {}, ...cells("th", header)));
  return make("div", { class: "scroll" }, make("table", {}, head, make("tbody", {}, ...body.map((row) => make("tr", {}, ...cells("td", row))))));
}

const runLink = (id, text, others) => make("a", { href: `#run=${[id, ...others.filter((other) => other !== id)].join("+")}` }, text);

function describeRun(id, others) {
  const [run, { texts }] = [records.runs[id], records];
  const close = make("button", { type: "button", class: "close" }, "Close");
  close.addEventListener("click", () => dialog.close());
  if (!run) return [close, make("h2", { id: "record-title" }, id), make("p", {}, "The record of this run is not on this page.")];
  const parts = [close, make("h2", { id: "record-title" }, `${id}: ${run.name}`)];
  if (others.length > 1) {
    const links = [...others].sort((a, b) => (records.runs[a]?.seed ?? 0) - (records.runs[b]?.seed ?? 0)).map((other) => {
      const link = runLink(other, `seed ${records.runs[other]?.seed ?? "?"} (${other.slice(0, 8)})`, others);
      if (other === id) link.setAttribute("aria-current", "true");
      return link;
    });
    parts.push(make("div", { class: "siblings" }, make("span", {}, "Runs of this point:"), ...links));
  }
  parts.push(make("dl", {}, ...run.facts.flatMap(([name, text]) => [make("dt", {}, texts[name]), make("dd", {}, texts[text])])));
  if (run.screen) {
    const { epochs, keep, by, rows: rates } = run.screen;
    parts.push(
      make("h3", {}, `Screening: learning rates after ${epochs} epochs, of which ${keep === 1 ? "the best" : `the best ${keep}`} went on`),
      rows(["rate", by, "run", ""], rates.map(([rate, reached, other, mark]) => [
        rate, reached === null ? "failed" : number(reached), other ? runLink(other, other.slice(0, 8), []) : "-", mark,
      ])),
    );
  }
  if (run.accuracies.length) {
    parts.push(
      make("h3", {}, "Accuracies"),
      rows(["test setting", "pairs", "accuracy"], run.accuracies.map(([name, pairs, value]) => [texts[name], pairs ?? "-", number(value, 4)])),
    );
  }
  if (run.curve) parts.push(make("h3", {}, "How it learnt"), make("div", { class: "plot", id: "learning" }));
  const words = run.settings.map(([path, value]) => `--${texts[path]} ${quote(texts[value])}`);
  parts.push(make("h3", {}, "Settings that differ from the defaults"), make("pre", { class: "wrap" }, ["mqar-bench run", ...words].join(" \\\n    ")));
  if (run.traceback !== undefined) parts.push(make("h3", {}, "Traceback"), make("pre", {}, texts[run.traceback]));
  return parts;
}

// As a shell needs it.
const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

function drawLearning(id) {
  const place = document.getElementById("learning");
  if (!place) return;
  const { curve } = records.runs[id];
  const [steps, ends] = [records.axes[curve.at][0], records.axes[curve.ends][0]];
  const { ink } = theme();
  const [red, blue, green] = ["#D55E00", "#0072B2", "#777777"].map(shown);
  const trace = (name, x, y, color, more) => ({ type: "scatter", mode: x.length > 1 ? "lines" : "markers", name, x, y, line: { color, width: 1.8 }, marker: { color }, ...more });
  const traces = [
    ...(curve.accuracy ? [trace("training accuracy, mean over an epoch", steps, curve.accuracy, blue)] : []),
    trace(`${curve.part} accuracy, after each epoch`, ends, curve.scored, red),
    ...(curve.loss ? [trace("training loss, mean over an epoch", steps, curve.loss, green, { yaxis: "y2" })] : []),
  ];
  const layout = toLayout({ x: { title: "Steps" }, y: { title: "Accuracy", span: [0, 1.03] }, height: 360 }, place.clientWidth, false);
  Object.assign(layout, {
    showlegend: true, legend: { orientation: "h", y: -0.22, x: 0, font: { size: 11, color: ink } }, hovermode: "x unified",
    hoverlabel: { bgcolor: theme().paper, font: { color: ink } }, margin: { l: 48, r: 48, t: 10, b: 40 },
    yaxis2: { ...toAxis({ title: "Loss" }, false, true), overlaying: "y", tickmode: "auto", side: "right", rangemode: "tozero", showgrid: false },
  });
  Plotly.react(place, traces, layout, CONFIG);
}

let beforeDialog = null;
let current = "";

function openRun() {
  const found = /^#run=([^&]*)$/.exec(location.hash);
  if (!found) {
    if (dialog.open) dialog.close();
    return;
  }
  const ids = decodeURIComponent(found[1]).split("+").filter(Boolean);
  current = ids[0];
  dialog.replaceChildren(...describeRun(current, ids));
  if (!dialog.open) {
    beforeDialog = document.activeElement;
    dialog.showModal();
  }
  dialog.scrollTop = 0;
  drawLearning(current);
}

// Closing leaves the page where it was.
dialog.addEventListener("close", () => {
  if (location.hash.startsWith("#run=")) history.replaceState(null, "", location.pathname + location.search);
  beforeDialog?.focus({ preventScroll: true });
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
