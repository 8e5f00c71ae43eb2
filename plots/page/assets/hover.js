// Elements from text alone, the records, and the box that tells of a point: its runs with seed, rate and accuracy.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const records = read("records");
const number = (value, digits = 3) => (value === null || value === undefined ? "none" : value.toFixed(digits));

const showRate = (rate) => `learning rate ${Number(rate.toPrecision(4))}`;

// The runs of a point, a line each; their learning rate once, where they have it in common.
function runLines(ids) {
  const rates = new Set(ids.map((id) => records.runs[id]?.rate));
  const lines = ids.slice(0, MOST_LISTED).map((id) => {
    const run = records.runs[id];
    if (!run) return `${id}: its record is not on this page`;
    const end = run.status === "done" ? `accuracy ${number(run.accuracy, 4)}` : run.status;
    return `${id.slice(0, 8)}: seed ${run.seed}, ${end}${rates.size > 1 ? `, ${showRate(run.rate)}` : ""}`;
  });
  if (ids.length > MOST_LISTED) lines.push(`and ${ids.length - MOST_LISTED} more`);
  const [rate] = rates;
  return rates.size === 1 && rate !== undefined ? [showRate(rate), ...lines] : lines;
}

const tip = document.getElementById("tip");
const MOST_LISTED = 12;

function showTip(says, runs, x, y) {
  tip.replaceChildren(make("b", {}, says), make("ul", {}, ...runLines(runs).map((line) => make("li", {}, line))));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const [right, bottom] = [document.documentElement.clientWidth - 6, innerHeight - 6];
  tip.style.left = `${Math.max(6, Math.min(x + 14, right - width))}px`;
  tip.style.top = `${y + 14 + height < bottom ? y + 14 : Math.max(6, y - height - 14)}px`;
}

const hideTip = () => { tip.hidden = true; };
