// Replaces the live part of a page as it changes. Pages are whole without it.
(() => {
  "use strict";
  const part = document.querySelector("[data-live]");
  const state = document.querySelector("[data-live-state]");
  if (!part || !state || !window.EventSource) return;

  // Whoever is in the middle of something is not interrupted: the part waits until they have left.
  const busy = () => {
    const selection = document.getSelection();
    return part.contains(document.activeElement) ||
      (selection && !selection.isCollapsed && part.contains(selection.anchorNode));
  };
  let next = null;
  const put = () => {
    if (next === null || busy()) return;
    const open = [...part.querySelectorAll("details[open][id]")].map((d) => d.id);
    part.innerHTML = next; // made by our own templates, which escape
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    next = null;
  };
  const say = (word) => {
    state.textContent = state.dataset[word];
    state.dataset.now = word;
  };

  const source = new EventSource(part.dataset.live);
  source.onopen = () => say("fresh");
  source.onmessage = (event) => {
    next = event.data;
    put();
  };
  source.onerror = () => say("stale"); // the browser tries again by itself
  part.addEventListener("focusout", () => setTimeout(put));
  document.addEventListener("selectionchange", put);
  window.addEventListener("pagehide", () => source.close());
})();

// Marks all rows of a table, or none.
(() => {
  "use strict";
  for (const all of document.querySelectorAll("[data-mark-all]")) {
    all.hidden = false;
    const boxes = () => document.querySelectorAll(`input[name="${all.dataset.markAll}"]`);
    all.addEventListener("click", () => {
      const on = [...boxes()].some((box) => !box.checked);
      for (const box of boxes()) box.checked = on;
    });
  }
})();
