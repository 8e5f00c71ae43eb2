// Tables sort and filter, each when it comes into sight; that of all runs has a field for each column.

// Numbers by size, and cells without one below them, either way.
const sorted = (sign) => (a, b) => (a === "" || b === "" ? (a === "") - (b === "") : sign * (a - b));
DataTable.ext.type.order["gapped-asc"] = sorted(1);
DataTable.ext.type.order["gapped-desc"] = sorted(-1);

const isNumeric = (rows, i) => rows.every((row) => !Number.isNaN(Number(row.cells[i].textContent)));

function enliven(table) {
  if (table.dataset.live) return;
  table.dataset.live = "true";
  const long = table.tBodies[0].rows.length > 25;
  const rows = [...table.tBodies[0].rows];
  const numeric = [...table.tHead.rows[0].cells].map((_, i) => i).filter((i) => isNumeric(rows, i));
  const byColumn = table.classList.contains("by-column");
  if (byColumn) {
    const fields = [...table.tHead.rows[0].cells].map((cell) => {
      const field = make("input", { type: "search", "aria-label": `filter ${cell.textContent}`, placeholder: "filter" });
      return make("th", {}, field);
    });
    table.tHead.append(make("tr", {}, ...fields));
  }
  const live = new DataTable(table, {
    paging: long, pageLength: 25, lengthMenu: [25, 100, { label: "all", value: -1 }], order: [], autoWidth: false,
    orderCellsTop: true, titleRow: 0, info: long,
    columnDefs: [{ targets: numeric, type: "gapped" }, { targets: "_all", className: "dt-left" }],
    layout: { topStart: long ? "pageLength" : null, topEnd: "search", bottomStart: long ? "info" : null, bottomEnd: long ? "paging" : null },
    language: { search: "Filter:", lengthMenu: "_MENU_ rows", emptyTable: "nothing", zeroRecords: "no row has this" },
  });
  if (!byColumn) return;
  table.tHead.rows[1].querySelectorAll("input").forEach((field, i) => {
    field.addEventListener("input", () => live.column(i).search(field.value).draw());
  });
}
