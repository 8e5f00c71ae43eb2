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

const runLine = (id) => {
  const run = records.runs[id];
  if (!run) return `${id}: its record is not on this page`;
  const end = run.status === "done" ? `accuracy ${number(run.accuracy, 4)}` : run.status;
  return `${id.slice(0, 8)}: seed ${run.seed}, ${end}, rate ${Number(run.rate.toPrecision(4))}`;
};

const tip = document.getElementById("tip");
const MOST_LISTED = 12;

function showTip(says, runs, x, y) {
  const listed = runs.slice(0, MOST_LISTED).map((id) => make("li", {}, runLine(id)));
  if (runs.length > MOST_LISTED) listed.push(make("li", {}, `and ${runs.length - MOST_LISTED} more`));
  tip.replaceChildren(make("b", {}, says), make("ul", {}, ...listed));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const [right, bottom] = [document.documentElement.clientWidth - 6, innerHeight - 6];
  tip.style.left = `${Math.max(6, Math.min(x + 14, right - width))}px`;
  tip.style.top = `${y + 14 + height < bottom ? y + 14 : Math.max(6, y - height - 14)}px`;
}

const hideTip = () => { tip.hidden = true; };
