// The table of workers, for a service whose jobs run on workers.

import { amount, api, el, size, table } from "./parts.js";

const POLL_INTERVAL_MS = 2000;

const COLUMNS = [["Worker", ""], ["State", ""], ["Last heartbeat", "n"], ["Pages/s", "n"], ["Pages", "n"],
  ["On lease", "n"], ["Jobs", "n"], ["Memory", "n"], ["Problem", ""]];

function cells(one) {
  return [one.name, el("span", { class: `state ${one.state}`, text: one.state }), `${one.silent.toFixed(0)} s ago`,
    one.pages_per_second, amount(one.pages), amount(one.leased), one.hands.length, size(one.rss_bytes),
    Object.entries(one.troubles).map(([job, words]) => `${job}: ${words}`).join("; ") || "–"];
}

// Shows the section while workers run the jobs; otherwise stops polling.
export async function watchWorkers(section) {
  try {
    const found = await api("GET", "/workers");
    section.hidden = !found.shared;
    if (!found.shared) return;
    section.querySelector("[data-trouble]").textContent = found.trouble ?? "";
    section.querySelector("[data-rows]").replaceChildren(found.workers.length
      ? table("Workers", COLUMNS, found.workers.map(cells)) : el("p", { text: "No workers. Start one: crawler worker --stand-by --frontier URL" }));
  } catch { /* the status line shows the error; polled again */ }
  setTimeout(() => watchWorkers(section), POLL_INTERVAL_MS);
}
