// Figures: a legend of switches over panels, each drawn when it comes near, and drawn again where the paper changes.

const SHAPES = {
  "circle": "M6 2a4 4 0 1 0 .01 0z", "square": "M2.5 2.5h7v7h-7z", "triangle-up": "M6 2l4.4 8H1.600z",
  "triangle-down": "M6 10l4.400-8H1.600z", "triangle-left": "M2 6l8-4.400v8.800z", "triangle-right": "M10 6L2 1.600v8.800z",
  "diamond": "M6 1.500L10.500 6 6 10.500 1.500 6z", "diamond-tall": "M6 1l3 5-3 5-3-5z", "cross": "M4.500 2h3v2.500H10v3H7.500V10h-3V7.500H2v-3h2.500z",
  "x": "M3.500 2L6 4.500 8.500 2 10 3.500 7.500 6 10 8.500 8.500 10 6 7.500 3.500 10 2 8.500 4.500 6 2 3.500z",
  "hexagon": "M6 1.500l4 2.250v4.500L6 10.500l-4-2.250v-4.500z", "hexagon2": "M3.750 2h4.500L10.500 6l-2.250 4h-4.500L1.500 6z",
  "star": "M6 1l1.300 3.200 3.500.3-2.700 2.300.9 3.400L6 8.400l-3 1.800.9-3.400L1.200 4.500l3.500-.3z",
  "pentagon": "M6 1.500l4.500 3.300-1.700 5.200H3.200L1.500 4.800z", "octagon": "M4.300 2h3.400L10 4.300v3.400L7.700 10H4.300L2 7.700V4.300z",
};
const STROKES = {
  "x-thin": "M3 3l6 6M9 3l-6 6", "y-down": "M6 6v4M6 6L2.500 3M6 6l3.500-3", "y-up": "M6 6V2M6 6L2.500 9M6 6l3.500 3", "line-ew": "M2 6h8",
};
const DASHES = { dash: "4 2", dot: "1.500 2", dashdot: "4 1.500 1 1.500" };

function svg(width, ...parts) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ width, height: 12, viewBox: `0 0 ${width} 12`, "aria-hidden": "true" })) {
    element.setAttribute(name, value);
  }
  for (const attributes of parts) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [name, value] of Object.entries(attributes)) path.setAttribute(name, value);
    element.append(path);
  }
  return element;
}

function swatch(look) {
  const color = shown(look.color);
  const symbol = look.symbol || "circle";
  const line = look.dash === "none" ? [] : [{ d: "M0 6h24", stroke: color, "stroke-width": 1.6, "stroke-dasharray": DASHES[look.dash] || "none" }];
  const fill = STROKES[symbol] ? "none" : look.hollow ? theme().paper : color;
  return svg(24, ...line, { d: STROKES[symbol] || SHAPES[symbol] || SHAPES.circle, fill, stroke: color, transform: "translate(6 0)" });
}

// What a marker means, by the names that a drawing's `marks` have.
function sign(kind) {
  const { ink, dim, mark, paper } = theme();
  const parts = {
    open: [{ d: SHAPES.circle, fill: paper, stroke: dim, "stroke-width": 1.5 }],
    cross: [{ d: STROKES["x-thin"], stroke: ink, "stroke-width": 1.4 }],
    bar: [{ d: "M6 1v10M3.500 1h5M3.500 11h5", stroke: dim, "stroke-width": 1.3, fill: "none" }],
    ring: [{ d: SHAPES.circle, fill: "none", stroke: mark, "stroke-width": 1.6 }],
    disc: [{ d: SHAPES.circle, fill: mark, stroke: mark }],
    hatch: [{ d: "M1 1h10v10H1z", fill: "#eee", stroke: "#999" }, { d: "M2 8l6-6M4 10l6-6", stroke: "#999" }],
    line: [{ d: "M0 6h12", stroke: dim, "stroke-width": 2 }], thin: [{ d: "M0 6h12", stroke: dim, "stroke-width": 0.8 }],
    dot: [{ d: SHAPES.circle, fill: dim, transform: "translate(2 2) scale(.7)" }],
  };
  return svg(12, ...parts[kind]);
}

// Pixels of a panel on paper, alone and of two beside one another; page.css has the same.
const PRINTED = [660, 325];

class Figure {
  constructor(place, drawing) {
    Object.assign(this, { place, drawing, hidden: new Set(), plots: [], near: false });
    this.head = make("div");
    const grid = make("div", { class: drawing.small ? "panels small" : "panels" });
    for (const panel of drawing.panels) {
      const plot = make("div", { class: "plot", tabindex: "0", role: "application" });
      plot.setAttribute("aria-label", `${place.dataset.figure}: ${panel.title || panel.y.title}; arrow keys go from point to point, Enter opens its runs`);
      plot.style.minHeight = `${panel.height || 360}px`;
      const legend = make("div");
      grid.append(make("div", { class: "panel" }, ...(panel.title ? [make("h3", {}, panel.title)] : []), legend, plot));
      this.plots.push({ plot, panel, legend, width: 0 });
    }
    place.append(this.head, grid);
    this.drawHead();
    for (const each of this.plots) watchKeys(each);
  }

  drawHead() {
    const { legend = [], marks = [], title } = this.drawing;
    const active = this.place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    this.head.replaceChildren(
      ...(title ? [make("div", { class: "caption" }, title)] : []),
      this.buttons(legend),
      make("ul", { class: "marks" }, ...marks.map(([kind, text]) => make("li", {}, sign(kind), text))),
    );
    for (const each of this.plots) each.legend.replaceChildren(this.buttons(each.panel.legend || []));
    if (active !== undefined) [...this.place.querySelectorAll("button")].find((b) => b.dataset.key === active)?.focus();
  }

  buttons(legend) {
    const found = legend.map(({ key, label, look }) => {
      const button = make("button", { type: "button", "aria-pressed": String(!this.hidden.has(key)), "data-key": key }, swatch(look), label);
      button.addEventListener("click", () => this.toggle([key], this.hidden.has(key)));
      return button;
    });
    if (legend.length > 5) {
      const every = make("button", { type: "button", class: "all", "data-key": "" }, this.hidden.size ? "show all" : "hide all");
      every.addEventListener("click", () => this.toggle(legend.map((entry) => entry.key), this.hidden.size > 0));
      found.push(every);
    }
    return make("div", { class: "legend", role: "group", "aria-label": "Lines" }, ...found);
  }

  toggle(keys, visible) {
    for (const key of keys) visible ? this.hidden.delete(key) : this.hidden.add(key);
    this.drawHead();
    if (this.near) this.draw();
  }

  draw() {
    this.near = true;
    for (const each of this.plots) {
      each.width = printing ? PRINTED[this.drawing.small ? 1 : 0] : each.plot.clientWidth;
      const traces = toTraces(each.panel, isNarrow(each.width)).map((trace) => ({ ...trace, visible: !this.hidden.has(trace.key) }));
      Plotly.react(each.plot, traces, toLayout(each.panel, each.width, this.drawing.small), CONFIG);
      if (each.ready) continue;
      each.ready = true;
      each.plot.on("plotly_hover", ({ points: [point], event }) => tell(point, event));
      each.plot.on("plotly_unhover", hideTip);
      each.plot.on("plotly_click", ({ points: [point] }) => openPoint(point));
    }
  }

  resize() {
    if (this.near && this.plots.some(({ plot, width }) => plot.clientWidth !== width)) this.draw();
  }
}

// Of a trace's lists the entry of a point; a trace of one run has one entry.
const entry = (list, i) => (list.length === 1 ? list[0] : list[i]);
const runsOf = ({ data, pointNumber }) => entry(data.runs || [], pointNumber) || [];

function tell(point, event) {
  const runs = runsOf(point);
  if (!point.data.points) return;
  const box = point.data.type === "bar" ? event.target?.getBoundingClientRect?.() : null;
  const [x, y] = event.clientX === undefined ? [box.left, box.top] : [event.clientX, event.clientY];
  showTip(entry(point.data.says, point.pointNumber), runs, x, y);
}

function openPoint(point) {
  const runs = runsOf(point);
  hideTip();
  if (runs.length) location.hash = `run=${runs.join("+")}`;
}

// Arrow keys: left and right along a line, up and down from line to line.
function watchKeys(each) {
  let [line, at] = [0, -1];
  each.plot.addEventListener("keydown", (event) => {
    const traces = (each.plot.data || []).filter((trace) => trace.points && trace.visible);
    if (!traces.length) return;
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (step) {
      event.preventDefault();
      line = (line + step[0] + traces.length) % traces.length;
      const count = traces[line].x.length;
      at = Math.min(Math.max(at, 0), count - 1);
      at = (at + step[1] + count) % count;
      const trace = traces[line];
      const box = each.plot.getBoundingClientRect();
      const { xaxis, yaxis } = each.plot._fullLayout;
      const up = trace.type === "bar" ? trace.base[at] + 0.48 : trace.y[at];
      const [x, y] = [box.left + xaxis._offset + xaxis.d2p(trace.x[at]), box.top + yaxis._offset + yaxis.d2p(up)];
      showTip(entry(trace.says, at), entry(trace.runs, at) || [], x, y);
    } else if (event.key === "Enter" && at >= 0) {
      openPoint({ data: traces[line], pointNumber: at });
    } else if (event.key === "Escape") {
      hideTip();
    }
  });
  each.plot.addEventListener("blur", hideTip);
}
