// From what a figure is made of (spec.py) to Plotly's traces and layout.

const HOVER = { hoverinfo: "none" };
const all = (list, value) => list.map(() => value);

// Text that Plotly takes for no markup, but for line breaks.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/\n/g, "<br>");

const isNarrow = (width) => width < 480;

// Words in lines of about so many characters.
function wrap(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last && last.length + word.length >= most) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines.join("\n");
}

const LETTER = 6; // pixels
const nameLines = (axis, width) => axis.ticks.map(([at, text]) => [at, wrap(text, Math.max(12, width / LETTER))]);

function toAxis(axis, narrow, many) {
  const { ink, grid, dim } = theme();
  const span = axis.span && (axis.kind === "log" ? axis.span.map(Math.log10) : axis.span);
  const ticks = axis.ticks && axis.ticks.length
    ? { tickmode: "array", tickvals: axis.ticks.map((t) => t[0]), ticktext: axis.ticks.map((t) => plain(t[1])) }
    : { nticks: many ? 6 : 5 };
  return {
    type: axis.kind || "linear", range: span, title: { text: plain(axis.title), standoff: 8, font: { size: 12 } },
    gridcolor: grid, linecolor: dim, tickcolor: dim, color: ink, zeroline: false, showline: true, ticks: "outside",
    ticklen: 4, automargin: true, minor: { showgrid: false }, tickfont: { size: narrow ? 10 : 11 }, ...ticks,
    exponentformat: "SI",
  };
}

// Ends of intervals as distances, as Plotly wants them; a mean of equals may differ from them in the last bit.
const interval = (line, values) => ({
  type: "data", symmetric: false, thickness: 1.2, width: 3, color: shown(line.look.color),
  array: line.high.map((high, i) => (high === null ? 0 : Math.max(0, high - values[i]))),
  arrayminus: line.low.map((low, i) => (low === null ? 0 : Math.max(0, values[i] - low))),
});

// Traces of a line: its seeds below it, its rings, itself, and crosses above. `key` is what the legend switches.
function lineTraces(line) {
  const { look } = line;
  const [color, paper] = [shown(look.color), theme().paper];
  const symbol = look.symbol || "circle";
  const traces = [];
  if (line.seeds) {
    const dots = line.seeds.flatMap((values, i) => values.map((value) => [line.x[i], value]));
    traces.push({
      key: line.key, mode: "markers", x: dots.map((d) => d[0]), y: dots.map((d) => d[1]), hoverinfo: "skip",
      marker: { color, size: 3.5, opacity: 0.6 },
    });
  }
  if (line.rings && line.rings.some(Boolean)) {
    const at = line.rings.map((ring, i) => (ring ? i : -1)).filter((i) => i >= 0);
    traces.push({
      key: line.key, mode: "markers", x: at.map((i) => line.x[i]), y: at.map((i) => line.y[i]), hoverinfo: "skip",
      marker: {
        symbol: "circle", size: 16, line: { color: theme().mark, width: 1.6 },
        color: at.map((i) => (line.rings[i] === "edge" ? theme().mark : "rgba(0,0,0,0)")),
      },
    });
  }
  const size = look.size || 7;
  const thin = /thin|line|y-/.test(symbol);
  traces.push({
    ...HOVER, key: line.key, points: true, mode: look.dash === "none" ? "markers" : "lines+markers", x: line.x, y: line.y,
    says: line.says || [], runs: line.runs || [], line: { color, width: 2, dash: look.dash === "none" ? "solid" : look.dash || "solid" },
    marker: {
      symbol, opacity: 1, size: line.x.map((_, i) => (line.bounds && line.bounds[i] ? size + 1.5 : size)),
      color: line.x.map((_, i) => (look.hollow || (line.bounds && line.bounds[i]) ? paper : color)),
      line: { color, width: line.x.map((_, i) => (thin || look.hollow || (line.bounds && line.bounds[i]) ? 1.6 : 0)) },
    },
    ...(line.low ? (line.sideways ? { error_x: interval(line, line.x) } : { error_y: interval(line, line.y) }) : {}),
  });
  if (line.rising) {
    const at = line.rising.map((rising, i) => (rising ? i : -1)).filter((i) => i >= 0);
    traces.push({
      key: line.key, mode: "markers", x: at.map((i) => line.x[i]), y: at.map((i) => line.y[i]), hoverinfo: "skip",
      marker: { symbol: "x-thin", size: 7, line: { color: theme().ink, width: 1.4 } },
    });
  }
  return traces;
}

// A heat map as bars, a bar a cell, so that it stays a drawing; and over those that are hatched, their hatching.
function cellTraces(cells, narrow) {
  const bars = (some) => ({
    type: "bar", x: some.map((c) => c.x), y: all(some, 0.96), base: some.map((c) => c.y - 0.48), width: all(some, 0.96),
  });
  const hatched = cells.filter((c) => c.hatched);
  const shape = { pattern: { shape: "/", fgcolor: "#999999", bgcolor: "rgba(0,0,0,0)", size: 7, solidity: 0.15 }, color: "rgba(0,0,0,0)", line: { width: 0 } };
  return [
    {
      ...HOVER, ...bars(cells), points: true, text: cells.map((c) => plain(c.text)), textposition: "inside",
      insidetextanchor: "middle", textangle: 0, constraintext: "none", says: cells.map((c) => c.says),
      textfont: { color: cells.map((c) => c.ink), size: narrow ? 10 : 11 }, runs: cells.map((c) => c.runs),
      marker: { color: cells.map((c) => c.color), line: { width: 0 } },
    },
    ...(hatched.length ? [{ ...bars(hatched), hoverinfo: "skip", marker: shape }] : []),
  ];
}

// How a run learnt: a thick line for what was scored after its epochs, a thin one for training, a dot at 0.9.
function curveTraces(curve) {
  const record = records.runs[curve.run];
  if (!record || !record.curve) return [];
  const [color, { scored, accuracy, at, ends, epoch }] = [shown(curve.color), record.curve];
  const [steps, tokens] = records.axes[at];
  const places = records.axes[ends][1];
  const shared = { key: curve.key, points: true, runs: [[curve.run]], says: [curve.says], ...HOVER };
  const traces = [];
  if (accuracy) {
    const first = steps.findIndex((step) => step >= epoch);
    traces.push({
      ...shared, points: false, hoverinfo: "skip", mode: "lines", x: tokens.slice(first), y: accuracy.slice(first),
      line: { color, width: 0.7, dash: curve.dash },
    });
  }
  const reached = scored.findIndex((value) => value >= 0.9);
  traces.push({
    ...shared, mode: "lines+markers", x: places, y: scored, line: { color, width: 1.7, dash: curve.dash },
    marker: { color, size: scored.map((_, i) => (i === reached || scored.length === 1 ? 5 : 0)), opacity: 1 },
  });
  return traces;
}

function ruleTraces(rule, panel) {
  const ends = (axis, values) => values.map((value, i) => (value === null ? axis.span[i] : value));
  const [x, y] = [ends(panel.x, rule.x), ends(panel.y, rule.y)];
  const known = rule.runs && rule.runs.length;
  const line = { color: rule.color ? shown(rule.color) : theme().dim, width: rule.color ? 1.4 : 0.8, dash: rule.dash || "dot" };
  const share = rule.color ? 0 : 0.8; // where the word is
  const between = (axis, [a, b]) => (axis.kind === "log" ? a ** (1 - share) * b ** share : a + (b - a) * share);
  const trace = {
    key: rule.key || "", mode: "lines", x, y, line,
    ...(known ? { ...HOVER, points: true, says: all(x, rule.says), runs: all(x, rule.runs) } : { hoverinfo: "skip" }),
  };
  if (!rule.text) return [trace];
  const word = {
    key: rule.key || "", mode: "text", x: [between(panel.x, x)], y: [between(panel.y, y)], hoverinfo: "skip",
    text: [plain(rule.text)], textposition: rule.color ? "top right" : "bottom right", cliponaxis: true,
    textfont: { size: 10, color: theme().dim },
  };
  return [trace, word];
}

const toTraces = (panel, narrow) => [
  ...(panel.rules || []).flatMap((rule) => ruleTraces(rule, panel)),
  ...(panel.cells ? cellTraces(panel.cells, narrow) : []),
  ...(panel.curves || []).flatMap(curveTraces),
  ...[...(panel.series || [])].reverse().flatMap(lineTraces), // the first of the legend lies on top
].map((trace) => ({ type: "scatter", showlegend: false, ...trace }));

function toLayout(panel, width, small) {
  const narrow = isNarrow(width);
  const { ink } = theme();
  const up = panel.y.names ? { ...panel.y, ticks: nameLines(panel.y, width * (panel.cells ? 0.2 : 0.36)) } : panel.y;
  const lines = panel.y.names ? Math.max(...up.ticks.map(([, text]) => text.split("\n").length)) : 1;
  return {
    xaxis: { ...toAxis(panel.x, narrow, !small && !narrow), ...(panel.cells ? { showgrid: false, tickangle: 0 } : {}) }, yaxis: { ...toAxis(up, narrow, true), showgrid: !panel.cells }, width, barmode: "overlay",
    height: Math.max(panel.height || 360, panel.y.names ? 90 + up.ticks.length * (13 * lines + 7) : 0), margin: { l: 48, r: 14, t: 10, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif" }, hovermode: "closest",
    hoverdistance: 14, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", showlegend: false,
  };
}

const CONFIG = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: "reset", showTips: false };
