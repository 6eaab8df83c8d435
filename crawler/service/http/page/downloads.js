// Downloads on the dashboard: the form for a new download, its progress, its files.

import { amount, api, el, save, size, table } from "./parts.js";

const FIELDS = [
  ["files", "URLs, one per line", "A checksum may follow: https://example.com/a.zip sha256:…", null],
  ["name", "Name", "Display name. Default: the first host.", "job"],
  ["max_filesize", "Largest file", "In bytes, or 10MB. Empty: the limit of the service.", "download"],
  ["size_limit", "Total bytes", "In bytes, or 10GB. Empty: the limit of the service.", "limits"],
  ["limit_rate", "Bytes per second", "All files together, for example 5MB. Empty: no limit.", "pace"],
];

const idOf = (name) => `download-${name}`;

export const duration = (seconds) => {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
};

export class DownloadForm {
  constructor(place, complaint) {
    this.place = place;
    this.complaint = complaint;
  }

  build() {
    this.place.replaceChildren(...FIELDS.map(([name, title, help]) => {
      const id = idOf(name);
      const common = { id, name, spellcheck: "false", "aria-describedby": `${id}-help ${id}-wrong` };
      return el("div", { class: "field" },
        el("label", { for: id, text: title }),
        name === "files" ? el("textarea", { ...common, rows: 6, required: true }) : el("input", common),
        el("p", { class: "help", id: `${id}-help`, text: help }),
        el("p", { class: "wrong", id: `${id}-wrong` }));
    }));
    this.complaint.textContent = "";
  }

  // The body to send; undefined when a field is invalid, whose error is then shown.
  read() {
    this.clear();
    const body = {};
    for (const [name, , , section] of FIELDS) {
      const text = document.getElementById(idOf(name)).value.trim();
      if (name === "files") {
        const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
        if (!lines.length) return this.wrong("files", "Needed.");
        const bad = lines.find((line) => !/^https?:\/\/[^\s/]/i.test(line));
        if (bad) return this.wrong("files", `“${bad}” does not start with http:// or https://`);
        body.files = lines.map((line) => {
          const [url, ...sums] = line.split(/\s+/);
          return sums.length ? { url, checksum: sums } : url;
        });
      } else if (text) (body[section] ??= {})[name] = text;
    }
    return body;
  }

  refused(error) {
    this.clear();
    for (const one of error.errors) {
      const [, first, second] = (one.pointer ?? "").split("/");
      const name = first === "files" ? "files" : second;
      const line = first === "files" && second ? `Line ${Number(second) + 1}: ` : "";
      if (FIELDS.some(([known]) => known === name)) this.wrong(name, line + one.detail);
      else this.complaint.textContent = one.detail;
    }
    if (!error.errors.length) this.complaint.textContent = error.message;
  }

  wrong(name, words) {
    const input = document.getElementById(idOf(name));
    input.setAttribute("aria-invalid", "true");
    document.getElementById(`${input.id}-wrong`).textContent = words;
    input.focus();
    return undefined;
  }

  clear() {
    this.complaint.textContent = "";
    for (const input of this.place.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    for (const words of this.place.querySelectorAll(".wrong")) words.textContent = "";
  }
}

function part(received, whole, words) {
  if (!whole) return words;
  return el("span", {}, el("progress", { max: whole, value: received, "aria-label": words }), ` ${words}`);
}

// Tiles of the overview, as [name, value, whether it is text].
export function facts(job) {
  const now = job.download;
  return [
    ["files", amount(job.totals.files)], ["failed", amount(job.totals.failed)], ["to do", amount(job.totals.queued)],
    ["on the wire", size(job.totals.bytes_wire)], ["runs", job.runs],
    ...(now ? [["speed", `${size(now.rate)}/s`], ["under way", now.running.length],
      ["left", now.eta === null ? "not known yet" : duration(now.eta), true]] : []),
  ];
}

// The part of the overview below the tiles.
export function underWay(job) {
  const now = job.download;
  if (!now) return [];
  return [
    el("h3", { text: "Under way" }), table("Under way", [["File", ""], ["There", ""], ["Speed", "n"], ["Connections", "n"], ["Left", "n"]],
      now.running.map((one) => [one.name ?? one.url, part(one.received, one.size, `${size(one.received)} of ${one.size === null ? "?" : size(one.size)}`),
        `${size(one.rate)}/s`, one.connections, one.eta === null ? "–" : duration(one.eta)])),
    ...(now.hosts.length ? [el("h3", { text: "Waiting" }), table("Waiting", [["Host", ""], ["Files", "n"], ["Why", ""]],
      now.hosts.map((one) => [one.host, amount(one.queued), one.why]))] : []),
  ];
}

// One row per file.
export function fileCells(job, link, attempt) {
  return (one) => [
    one.path ?? "–", el("div", { class: "wide" }, link(one.url)), el("span", { class: `state ${one.state === "done" ? "finished" : one.state === "waiting" ? "queued" : one.state}`, text: one.state }),
    one.bytes === null ? "–" : size(one.bytes), one.checksum ? el("code", { text: one.checksum }) : "–", el("span", { class: "reason", text: one.reason || "–" }),
    one.path === null ? "" : el("button", { type: "button", "aria-label": `Download ${one.path}`, text: "Download",
      onclick: () => attempt(() => save(`/jobs/${job}/files/${one.path.split("/").map(encodeURIComponent).join("/")}`, one.path.split("/").pop())) }),
  ];
}

export const FILE_COLUMNS = [["Name", ""], ["URL", ""], ["State", ""], ["Bytes", "n"], ["Checksum", ""], ["Why", ""], ["", ""]];

export const start = (body) => api("POST", "/jobs", body);
