// The workers of a service that runs its jobs elsewhere: one table, kept as the API tells it.

import { amount, api, el, size, table } from "./parts.js";

const EVERY = 2000; // ms

const COLUMNS = [["Worker", ""], ["State", ""], ["Heard of", "n"], ["Pages/s", "n"], ["Pages", "n"],
  ["On lease", "n"], ["Jobs", "n"], ["Memory", "n"], ["Trouble", ""]];

function cells(one) {
  return [one.name, el("span", { class: `state ${one.state}`, text: one.state }), `${one.silent.toFixed(0)} s ago`,
    one.pages_per_second, amount(one.pages), amount(one.leased), one.hands.length, size(one.rss_bytes),
    Object.entries(one.troubles).map(([job, words]) => `${job}: ${words}`).join("; ") || "–"];
}

// Shows the section while jobs are run by workers, and asks no more where they are not.
export async function watchWorkers(section) {
  try {
    const found = await api("GET", "/workers");
    section.hidden = !found.shared;
    if (!found.shared) return;
    section.querySelector("[data-trouble]").textContent = found.trouble ?? "";
    section.querySelector("[data-rows]").replaceChildren(found.workers.length
      ? table("Workers", COLUMNS, found.workers.map(cells)) : el("p", { text: "No workers. Start one: crawler worker --stand-by --frontier URL" }));
  } catch { /* the line at the top says what is wrong; asked again */ }
  setTimeout(() => watchWorkers(section), EVERY);
}
