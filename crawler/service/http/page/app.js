// The dashboard. It keeps the jobs in memory, redraws what changed, and sends each user action to the
// API as one request.

import { DownloadForm, FILE_COLUMNS, facts, fileCells, start, underWay } from "./downloads.js";
import { JobForm } from "./form.js";
import { Refused, amount, api, chart, el, listen, save, size, table, token } from "./parts.js";
import { watchWorkers } from "./workers.js";

const $ = (id) => document.getElementById(id);
const jobs = new Map(); // id → job as last received
const rates = new Map(); // id → pages per second of the last two minutes
let open = null; // id of the job that is shown in detail
let tab = "Overview";
let next = null;
const form = new JobForm($("fields"), $("form-error"));
const downloadForm = new DownloadForm($("download-fields"), $("download-error"));

const VERBS = {
  queued: ["pause", "cancel"], running: ["pause", "cancel"], pausing: ["cancel"], paused: ["resume", "cancel"],
  held: ["resume", "cancel"], failed: ["retry", "delete"], cancelled: ["retry", "delete"], finished: ["delete"],
};
const STATES = ["queued", "running", "pausing", "paused", "held", "cancelling", "cancelled", "finished", "failed"];

function tell(words) { $("told").textContent = words; }

async function attempt(work) {
  try { return await work(); } catch (error) {
    if (error instanceof Refused && error.status === 401) askToken("This service requires a token.");
    else tell(error.message), $("link").textContent = error.message;
    return undefined;
  }
}

// ── jobs ────────────────────────────────────────────────────────────────────────────────────

async function load(older = false) {
  const state = $("filter").value;
  const query = new URLSearchParams({ limit: "50", ...(state && { state }), ...(older && next && { cursor: next }) });
  const found = await attempt(() => api("GET", `/jobs?${query}`));
  if (!found) return;
  if (!older) jobs.clear();
  for (const job of found.jobs) jobs.set(job.id, { ...jobs.get(job.id), ...job });
  next = found.next;
  $("more").hidden = next === null;
  draw();
}

// Draws at most once per frame, and never while a button is pressed: a click whose target is
// replaced before the release would be lost.
let waiting = false;
let pressed = false;
addEventListener("pointerdown", () => { pressed = true; }, true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(() => { pressed = false; }, 0), true);

function draw() {
  if (waiting) return;
  waiting = true;
  const soon = () => {
    if (pressed) return setTimeout(soon, 50);
    waiting = false;
    return drawNow();
  };
  requestAnimationFrame(soon);
}

function drawNow() {
  const shown = [...jobs.values()].sort((one, other) => other.number - one.number);
  const body = document.querySelector("#jobs tbody");
  const focus = document.activeElement?.dataset?.key;
  body.replaceChildren(...shown.map(row));
  if (focus) body.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
  $("none").hidden = shown.length > 0;
  drawTiles(shown);
  if (open && tab === "Overview") drawTab();
  if (open) drawHead();
}

function row(job) {
  const live = job.live;
  return el("tr", { "aria-current": job.id === open ? "true" : null },
    el("td", {}, el("button", { type: "button", class: "name", "data-key": `${job.id}-name`, onclick: () => show(job.id), text: job.name || job.id })),
    el("td", {}, state(job)),
    el("td", { class: "n", "data-label": job.kind === "download" ? "files" : "pages", text: amount(job.kind === "download" ? job.totals.files : job.totals.pages) }),
    el("td", { class: "n", "data-label": "speed", text: job.download ? `${size(job.download.rate)}/s` : live ? `${live.recent_per_second} pages/s` : "–" }),
    el("td", { class: "n", "data-label": "queued", text: amount(live ? live.queued : job.totals.queued) }),
    el("td", { class: "n", "data-label": "failed", text: amount(job.totals.failed) }),
    el("td", { class: "n", "data-label": "", text: size(job.totals.bytes_wire) }),
    el("td", {}, verbs(job)));
}

function state(job) {
  return el("span", {}, el("span", { class: `state ${job.state}`, text: job.state }),
    job.reason && job.reason !== job.state ? el("span", { class: "reason", text: ` ${job.reason}` }) : null);
}

function verbs(job) {
  return el("div", { class: "bar" }, (VERBS[job.state] ?? []).map((verb) => el("button", {
    type: "button", "data-key": `${job.id}-${verb}`, "aria-label": `${verb} ${job.name || job.id}`,
    text: verb[0].toUpperCase() + verb.slice(1), onclick: () => ask(job, verb),
  })));
}

async function ask(job, verb) {
  if (verb === "delete") {
    if (!confirm(`Delete ${job.name || job.id} and all that it fetched?`)) return;
    if (await attempt(() => api("DELETE", `/jobs/${job.id}`)) === undefined) return;
    jobs.delete(job.id);
    if (open === job.id) close();
    tell(`${job.name} is deleted`);
    return draw();
  }
  await attempt(() => api("POST", `/jobs/${job.id}/${verb}`));
  await refresh(job.id);
}

// One request at a time per job, repeated when the job changed meanwhile: responses out of order
// would leave an old state on the screen.
const asking = new Map(); // id → whether to request it again
async function refresh(id) {
  if (asking.has(id)) { asking.set(id, true); return; }
  do {
    asking.set(id, false);
    const job = await attempt(() => api("GET", `/jobs/${id}`));
    const wanted = $("filter").value;
    if (job && (jobs.has(id) || !wanted || wanted === job.state)) { jobs.set(id, job); draw(); }
  } while (asking.get(id));
  asking.delete(id);
}

function tiles(place, pairs) {
  place.replaceChildren(...pairs.map(([name, value, words]) =>
    el("div", {}, el("dt", { text: name }), el("dd", { class: words ? "words" : null, text: String(value) }))));
}

function drawTiles(shown) {
  const live = shown.map((job) => job.live).filter(Boolean);
  const sum = (key) => live.reduce((total, one) => total + one[key], 0);
  const loads = shown.map((job) => job.download).filter(Boolean);
  const connections = loads.flatMap((one) => one.running).reduce((total, one) => total + one.connections, 0);
  const files = loads.reduce((total, one) => total + one.waiting, 0);
  const count = (name) => shown.filter((job) => job.state === name).length;
  tiles($("tiles"), [
    ["running", count("running")], ["waiting", count("queued")], ["held", count("held")],
    ["pages/s", sum("recent_per_second").toFixed(1)], ["open connections", amount(sum("in_flight") + connections)],
    ["queued URLs", amount(sum("queued") + files)],
    ["loop lag", `${Math.max(0, ...live.map((one) => one.lag_ms)).toFixed(0)} ms`],
  ]);
}

// ── one job ─────────────────────────────────────────────────────────────────────────────────

const TABS_OF_DOWNLOADS = {
  Overview: (place) => {
    const tilesHere = el("dl", { class: "tiles" });
    tiles(tilesHere, facts(jobs.get(open)));
    place.replaceChildren(tilesHere, ...underWay(jobs.get(open)));
  },
  Files: (place) => browse(place, "downloads", "downloads", FILE_COLUMNS, fileCells(open, link, attempt)),
  Settings: settings,
};

const tabs = () => (jobs.get(open)?.kind === "download" ? TABS_OF_DOWNLOADS : TABS);

const TABS = {
  Overview: overview,
  Pages: (place) => browse(place, "pages", "pages", [["URL", ""], ["Outcome", ""], ["Status", "n"], ["Title", ""], ["Bytes", "n"], ["ms", "n"]],
    (one) => [link(one.url), one.outcome, one.status, one.title, amount(one.bytes_wire), one.fetch_ms]),
  "Broken links": (place) => browse(place, "errors", "links", [["URL", ""], ["Why", ""], ["Status", "n"], ["Linked from", ""]],
    (one) => [link(one.url), one.reason, one.status, one.via ? link(one.via) : "a start"]),
  Skipped: (place) => browse(place, "skipped", "links", [["URL", ""], ["Rule", ""], ["Linked from", ""]],
    (one) => [link(one.url), one.reason, one.via ? link(one.via) : "a start"]),
  Hosts: hosts,
  Why: why,
  Files: files,
  Settings: settings,
};

function link(url) { return el("a", { href: url, rel: "noreferrer noopener", target: "_blank", class: "url", text: url }); }

async function show(id) {
  open = id;
  if (!(tab in tabs())) tab = "Overview";
  const section = $("detail");
  section.hidden = false;
  section.replaceChildren(
    el("div", { class: "bar" }, el("h2", { id: "detail-title" }),
      el("div", { class: "bar", id: "detail-verbs" })),
    el("div", { role: "tablist", "aria-label": "About this job", onkeydown: arrow }, Object.keys(tabs()).map((name) => el("button", {
      type: "button", role: "tab", id: `tab-${name.replace(" ", "")}`, "aria-controls": "panel", text: name, onclick: () => { tab = name; drawTab(); },
    }))),
    el("div", { role: "tabpanel", id: "panel", tabindex: "0" }));
  const found = await attempt(() => api("GET", `/jobs/${id}`));
  if (!found || open !== id) return;
  jobs.set(id, found);
  draw();
  if (tab !== "Overview") drawTab();
  section.focus();
  section.scrollIntoView({ block: "start" });
}

function close() { open = null; $("detail").hidden = true; draw(); }

function drawHead() {
  const job = jobs.get(open);
  if (!job || !$("detail-title")) return;
  $("detail-title").replaceChildren(`${job.name || job.id} `, state(job));
  const focus = document.activeElement?.dataset?.key;
  $("detail-verbs").replaceChildren(verbs(job), job.kind === "download" ? "" : el("button", { type: "button", text: "Report", "data-key": "report", onclick: report }),
    el("button", { type: "button", text: "Close", "data-key": "close", onclick: close }));
  if (focus) $("detail-verbs").querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
}

function arrow(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const names = Object.keys(tabs());
  tab = names[(names.indexOf(tab) + step + names.length) % names.length];
  drawTab();
  $(`tab-${tab.replace(" ", "")}`).focus();
}

// Number of the panel's content: a response for earlier content is dropped.
let view = 0;

function drawTab() {
  view += 1;
  for (const button of document.querySelectorAll("[role=tab]")) {
    const chosen = button.textContent === tab;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    if (chosen) $("panel").setAttribute("aria-labelledby", button.id);
  }
  tabs()[tab]($("panel"));
}

function overview(place) {
  const job = jobs.get(open);
  const live = job.live;
  const facts = el("dl", { class: "tiles" });
  tiles(facts, [
    ["pages", amount(job.totals.pages)], ["failed", amount(job.totals.failed)], ["on the wire", size(job.totals.bytes_wire)],
    ["runs", job.runs],
    ...(live ? [["open connections", live.in_flight], ["being parsed", live.parsing], ["first byte, median", `${live.ttfb_ms[0]} ms`],
      ["bottleneck", live.bottleneck, true]] : [["created", job.created_at.slice(0, 19).replace("T", " ")]]),
  ]);
  const parts = [facts, ...job.totals.plugins.map((told) => el("p", { text: told }))];
  if (live) {
    const values = rates.get(job.id) ?? [];
    parts.push(chart(values, `Pages per second of the last two minutes; now ${live.recent_per_second}`));
    parts.push(el("h3", { text: "Responses" }), table("Responses by status", [["Status", ""], ["Number", "n"]],
      Object.entries(live.statuses).map(([code, number]) => [code, amount(number)])));
    parts.push(el("h3", { text: "Hosts now" }), table("Hosts now", [["Host", ""], ["In progress", "n"], ["Queued", "n"], ["Delay", "n"], ["Throttled", ""]],
      live.paces.map((host) => [host.name, `${host.in_flight} of ${host.width}`, amount(host.queued), `${host.delay.toFixed(2)} s`,
        host.parked ? `parked for ${host.parked.toFixed(0)} s after ${host.failures} failures` : host.rest > 1 ? `cooldown for ${host.rest.toFixed(0)} s` : "–"])));
    parts.push(el("h3", { text: "Slowest hosts" }), table("Slowest hosts", [["Host", ""], ["Visits", "n"], ["Failed", "n"], ["Mean ms", "n"]],
      live.hosts.map((host) => [host.host, amount(host.visits), amount(host.failed), host.mean_ms])));
    parts.push(el("h3", { text: "Last pages" }), table("Last pages", [["URL", ""], ["Outcome", ""], ["Status", "n"], ["ms", "n"]],
      live.recent.map((one) => [link(one.url), one.outcome, one.status, one.ms])));
  }
  const focus = place.contains(document.activeElement) ? document.activeElement.textContent : null;
  place.replaceChildren(...parts);
  if (focus !== null) [...place.querySelectorAll("a")].find((one) => one.textContent === focus)?.focus();
}

async function browse(place, path, key, columns, cells, cursor = null, trail = []) {
  const id = open;
  const mine = ++view;
  const query = new URLSearchParams({ limit: "50", ...(cursor && { cursor }) });
  const found = await attempt(() => api("GET", `/jobs/${id}/${path}?${query}`));
  if (!found || mine !== view) return;
  const rows = found[key].map(cells);
  place.replaceChildren(
    rows.length ? table(tab, columns, rows) : el("p", { text: "Nothing yet." }),
    el("div", { class: "bar end" },
      trail.length ? el("button", { type: "button", text: "Back", onclick: () => browse(place, path, key, columns, cells, trail.at(-1), trail.slice(0, -1)) }) : null,
      found.next ? el("button", { type: "button", text: "Next", onclick: () => browse(place, path, key, columns, cells, found.next, [...trail, cursor]) }) : null,
      el("button", { type: "button", text: "Refresh", onclick: () => browse(place, path, key, columns, cells, cursor, trail) })));
}

async function hosts(place) {
  const id = open;
  const mine = ++view;
  const found = await attempt(() => api("GET", `/jobs/${id}/hosts`));
  if (!found || mine !== view) return;
  place.replaceChildren(table("Hosts", [["Host", ""], ["Queued", "n"], ["Done", "n"], ["Failed", "n"], ["Pace", ""], ["robots.txt", "n"]],
    found.hosts.map((one) => [one.host, amount(one.queued), one.done === null ? "–" : amount(one.done), one.failed === null ? "–" : amount(one.failed),
      one.resting ? `parked for ${one.resting} s` : one.crawl_delay ? `delay ${one.crawl_delay} s` : "no delay", one.robots_status ?? "–"])));
}

function why(place) {
  const answer = el("div", { role: "status" });
  const input = el("input", { id: "why-url", type: "url", required: true, placeholder: "https://…" });
  const ask = async (event) => {
    event.preventDefault();
    try {
      const story = await api("GET", `/jobs/${open}/why?${new URLSearchParams({ url: input.value })}`);
      const one = story.link;
      answer.replaceChildren(
        el("p", {}, el("strong", { text: one.state }), ` ${one.reason ?? ""} ${one.status ?? ""} – depth ${one.depth}, ${one.attempts} tries`),
        one.state === "queued" && story.ahead !== null ? el("p", { text: `${story.ahead} links of its host are queued before it.` }) : "",
        story.duplicate_of ? el("p", {}, "Same content as ", link(story.duplicate_of)) : "",
        story.target ? el("p", {}, "It redirects to ", link(story.target)) : "",
        el("p", { text: "How it was found:" }), el("ol", { class: "way" }, story.path.map((url) => el("li", {}, link(url)))),
        el("p", { text: story.robots_status === null ? "Its robots.txt was not requested." : `Status of its robots.txt: ${story.robots_status}.` }));
    } catch (error) { answer.replaceChildren(el("p", { text: error.message })); }
  };
  place.replaceChildren(el("form", { onsubmit: ask }, el("div", { class: "field" }, el("label", { for: "why-url", text: "URL" }), input),
    el("button", { type: "submit", class: "strong", text: "Show history" })), answer);
}

async function files(place) {
  const id = open;
  const mine = ++view;
  const found = await attempt(() => api("GET", `/jobs/${id}/files`));
  if (!found || mine !== view) return;
  place.replaceChildren(table("Files", [["File", ""], ["Bytes", "n"], ["", ""]], found.files.map((one) => [one.path, size(one.bytes),
    el("button", { type: "button", "aria-label": `Download ${one.path}`, text: "Download",
      onclick: () => attempt(() => save(`/jobs/${id}/files/${one.path.split("/").map(encodeURIComponent).join("/")}`, one.path.split("/").pop())) })])));
}

function settings(place) {
  place.replaceChildren(el("pre", { tabindex: "0", text: JSON.stringify(jobs.get(open).config ?? {}, null, 2) }));
}

async function report() {
  const path = `/jobs/${open}/report`;
  if (!token.get()) {
    const probe = await fetch(path, { method: "GET" });
    if (probe.ok) return window.open(path, "_blank", "noopener");
    return tell("There is no report yet."), ($("link").textContent = "There is no report yet.");
  }
  return attempt(() => save(path, `report-${open}.html`));
}

// ── dialogs and events ──────────────────────────────────────────────────────────────────────

function askToken(words) {
  $("token-error").textContent = words;
  if (!$("token-dialog").open) $("token-dialog").showModal();
}

$("new").addEventListener("click", async () => {
  const schema = await attempt(() => api("GET", "/schema"));
  if (!schema) return;
  form.build(schema);
  form.clear();
  $("form-dialog").showModal();
});
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = form.read();
  if (!body) return;
  try {
    const job = await api("POST", "/jobs", body);
    jobs.set(job.id, job);
    $("form-dialog").close();
    tab = "Overview";
    tell(`${job.name} is ${job.state}`);
    draw();
    show(job.id);
  } catch (error) {
    if (error instanceof Refused) form.refused(error);
    else form.complaint.textContent = error.message;
  }
});
$("new-download").addEventListener("click", () => {
  downloadForm.build();
  $("download-dialog").showModal();
});
$("download-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = downloadForm.read();
  if (!body) return;
  try {
    const job = await start(body);
    jobs.set(job.id, job);
    $("download-dialog").close();
    tab = "Overview";
    tell(`${job.name} is ${job.state}`);
    draw();
    show(job.id);
  } catch (error) {
    if (error instanceof Refused) downloadForm.refused(error);
    else downloadForm.complaint.textContent = error.message;
  }
});
$("token").addEventListener("click", () => askToken(""));
$("token-form").addEventListener("submit", () => { token.set($("token-input").value.trim()); location.reload(); });
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
$("filter").append(...STATES.map((name) => el("option", { value: name, text: name })));
$("filter").addEventListener("change", () => load());
$("more").addEventListener("click", () => load(true));

function hear(kind, told) {
  if (kind === "live") {
    const values = rates.get(told.id) ?? [];
    values.push(told.live?.recent_per_second ?? 0);
    rates.set(told.id, values.slice(-120));
    if (jobs.has(told.id)) { jobs.set(told.id, told); draw(); }
    return;
  }
  const known = jobs.get(told.job);
  if (known) tell(`${known.name || known.id} is ${told.state}`);
  refresh(told.job);
}

await load();
watchWorkers($("workers"));
listen(hear, (words, code) => {
  $("link").textContent = words;
  if (code === 401) askToken("This service requires a token.");
});
