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
    if (state.dataset.now === word) return;
    state.textContent = state.dataset[word];
    state.dataset.now = word;
  };

  // The agent sends a beat every few seconds, also when nothing has changed. Where none comes, what is
  // shown is old, whatever the connection looks like.
  const patience = 10000;
  let source = null;
  let last = Date.now(); // of loading
  let begun = false;
  const tell = () => {
    if (!source || Date.now() - last > patience) say("stale");
    else if (begun) say(next === null ? "fresh" : "held");
  };
  const heard = () => {
    last = Date.now();
    begun = true;
    tell();
  };
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(part.dataset.live);
    source.onmessage = (event) => {
      next = event.data;
      put();
      heard();
    };
    source.addEventListener("beat", heard);
    source.onerror = () => { // the browser tries again by itself
      last = 0;
      tell();
    };
  };
  const close = () => {
    if (source) source.close();
    source = null;
    tell();
  };
  const left = () => {
    put();
    tell();
  };

  open();
  setInterval(tell, 1000);
  part.addEventListener("focusout", () => setTimeout(left));
  document.addEventListener("selectionchange", left);
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload(); // a page of before is no page of now
  });
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
