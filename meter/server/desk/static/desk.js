// Keeps what is marked live up to date, and copies commands. Everything works without it.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const SLOWEST_MS = 60000;
  const line = document.querySelector("[data-live-line]");
  const told = document.querySelector("[data-live-when]");
  const button = document.querySelector("[data-pause]");
  let paused = false;
  let wait = EVERY_MS;
  let timer = 0;

  // Somebody reads, writes or has chosen something there: it stays as it is.
  function isInUse(element) {
    const chosen = window.getSelection();
    if (chosen && !chosen.isCollapsed && chosen.containsNode(element, true)) return true;
    return element.contains(document.activeElement);
  }

  function take(fresh) {
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (!now || isInUse(old)) continue;
      for (const details of old.querySelectorAll("details[open]")) {
        const same = now.querySelector(`#${CSS.escape(details.id)}`);
        if (same) same.open = true;
      }
      const added = document.adoptNode(now);
      offerCopies(added);
      if (added.outerHTML !== old.outerHTML) old.replaceWith(added);
    }
  }

  async function refresh() {
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "manual" });
      if (answer.type === "opaqueredirect") {
        location.reload(); // signed out: the page itself says so
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      wait = EVERY_MS;
      told.textContent = `Updated ${new Date().toISOString().slice(11, 19)}`;
    } catch {
      wait = Math.min(SLOWEST_MS, wait * 2);
      told.textContent = "meter does not answer; trying again";
    }
    plan();
  }

  function plan() {
    window.clearTimeout(timer);
    if (!paused && !document.hidden) timer = window.setTimeout(refresh, wait);
  }

  function offerCopies(root) {
    if (!navigator.clipboard) return;
    for (const code of root.querySelectorAll("code.command")) {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "quietly";
      copy.textContent = "Copy";
      code.after(" ", copy);
    }
  }

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("code.command + button");
    if (!copy) return;
    try {
      await navigator.clipboard.writeText(copy.previousElementSibling.textContent);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it and copy";
    }
  });

  offerCopies(document);
  if (!line || !document.querySelector("[data-live]")) return;
  line.hidden = false;
  told.textContent = "Updates by itself";
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    told.textContent = paused ? "Updates are paused" : "Updates by itself";
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  plan();
})();
