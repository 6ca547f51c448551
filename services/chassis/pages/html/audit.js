// While the newest rows are at the top of the window, the table is live. Once the reader scrolls down in it, or works in
// it, the address says which row was the newest: rows stay where they are then, and new ones are offered as a link.
const rows = () => document.querySelector("#rows [data-hold]");
const first = new URL(location).searchParams.has("before") || new URL(location).searchParams.has("seen");
const choose = () => {
  const table = rows();
  if (first || !table) return;
  const reads = table.getBoundingClientRect().top < 0 || table.contains(document.activeElement);
  const held = new URL(location).searchParams.has("seen");
  if (reads !== held) history.replaceState(null, "", reads ? table.dataset.hold : table.dataset.newest);
};
addEventListener("scroll", choose, { passive: true });
addEventListener("focusin", choose);
addEventListener("focusout", () => setTimeout(choose));
