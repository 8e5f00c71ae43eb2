// Begins: what comes near is drawn, all of it before printing.

const drawings = read("drawings");
const figures = [...document.querySelectorAll(".figure")].map((place) => new Figure(place, drawings[place.dataset.figure]));

const coming = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    coming.unobserve(target);
    if (target.tagName === "TABLE") enliven(target);
    else figures.find((figure) => figure.place === target).draw();
  }
}, { rootMargin: "400px" });
for (const figure of figures) coming.observe(figure.place);
for (const table of document.querySelectorAll("table.sorted")) coming.observe(table);

onTheme(() => {
  for (const figure of figures) {
    figure.drawHead();
    if (figure.near || printing) figure.draw();
  }
  if (dialog.open) drawLearning(current);
});

let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    for (const figure of figures) figure.resize();
    if (dialog.open) drawLearning(current);
  }, 150);
});
addEventListener("hashchange", openRun);
addEventListener("scroll", hideTip, { passive: true });
openRun();
document.documentElement.dataset.ready = "true";
