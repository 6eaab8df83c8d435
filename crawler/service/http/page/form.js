// The form for a new crawl, generated from the service's schema: every setting a job may have, with
// its help and default. Errors are shown beside their field.

import { el } from "./parts.js";

const FIRST = ["/seeds", "/job/name", "/limits/max_pages", "/scope/scope", "/scope/max_depth", "/pace/delay"];
const TITLES = {
  "/seeds": "Seed URLs, one per line", "/job/name": "Name", "/limits/max_pages": "Maximum pages",
  "/scope/scope": "Scope", "/scope/max_depth": "Maximum depth", "/pace/delay": "Delay between requests (s)",
};

const idOf = (pointer) => `field${pointer.replaceAll("/", "-")}`;

function unwrap(schema) {
  const options = (schema.anyOf ?? [schema]).flatMap((one) => one.anyOf ?? [one]);
  return { ...schema, ...(options.find((one) => one.type !== "null") ?? {}) };
}

function shown(value) {
  if (value === null || value === undefined) return "none";
  if (Array.isArray(value)) return value.join(", ") || "none";
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

function field(pointer, schema) {
  const name = TITLES[pointer] ?? pointer.split("/").pop().replaceAll("_", " ");
  const kind = unwrap(schema);
  const id = idOf(pointer);
  const common = { id, name: pointer, "aria-describedby": `${id}-help ${id}-wrong` };
  let input;
  if (kind.enum) {
    input = el("select", common, el("option", { value: "", text: `default (${shown(kind.default)})` }),
      kind.enum.map((value) => el("option", { value, text: value })));
  } else if (kind.type === "boolean") {
    input = el("select", common, el("option", { value: "", text: `default (${kind.default ? "yes" : "no"})` }),
      el("option", { value: "true", text: "yes" }), el("option", { value: "false", text: "no" }));
  } else if (kind.type === "array") {
    input = el("textarea", { ...common, rows: pointer === "/seeds" ? 3 : 2, spellcheck: "false" });
  } else if (kind.type === "integer" || kind.type === "number") {
    input = el("input", { ...common, inputmode: "decimal", placeholder: shown(kind.default) });
  } else if (kind.type === "object") {
    input = el("textarea", { ...common, rows: 2, placeholder: '{"name": "value"}', spellcheck: "false" });
  } else {
    input = el("input", { ...common, placeholder: shown(kind.default) === "none" ? "" : shown(kind.default) });
  }
  if (pointer === "/seeds") input.required = true;
  const unit = { s: " In seconds, or 500ms, 1h30m.", B: " In bytes, or 10MB." }[schema["x-unit"]] ?? "";
  return el("div", { class: "field" },
    el("label", { for: id, text: name }), input,
    el("p", { class: "help", id: `${id}-help`, text: `${schema.description || ""}.${unit}`.replace(/^\./, "") }),
    el("p", { class: "wrong", id: `${id}-wrong` }));
}

export class JobForm {
  constructor(place, complaint) {
    this.place = place;
    this.complaint = complaint;
    this.schemas = new Map();
  }

  build(schema) {
    this.schemas.clear();
    const sections = new Map([["", []]]);
    for (const [name, part] of Object.entries(schema.properties)) {
      if (part.type !== "object" || !part.properties) this.schemas.set(`/${name}`, part);
      else for (const [key, inner] of Object.entries(part.properties)) {
        if (name === "job" && key !== "name") continue;
        this.schemas.set(`/${name}/${key}`, inner);
      }
    }
    for (const [pointer, part] of this.schemas) {
      if (FIRST.includes(pointer)) continue;
      const section = pointer.split("/")[1];
      if (!sections.has(section)) sections.set(section, []);
      sections.get(section).push(field(pointer, part));
    }
    const first = FIRST.filter((pointer) => this.schemas.has(pointer)).map((pointer) => field(pointer, this.schemas.get(pointer)));
    this.place.replaceChildren(...first, ...[...sections].filter(([, fields]) => fields.length).map(([name, fields]) =>
      el("details", {}, el("summary", { text: `More: ${name}` }), fields)));
  }

  // The body to send; undefined when a field is invalid, whose error is then shown.
  read() {
    this.clear();
    const body = {};
    let good = true;
    for (const [pointer, schema] of this.schemas) {
      const input = document.getElementById(idOf(pointer));
      const text = input.value.trim();
      if (!text) {
        if (input.required) good = this.wrong(pointer, "Needed.") && good;
        continue;
      }
      const [value, problem] = parse(text, unwrap(schema), pointer, schema["x-unit"]);
      if (problem) { good = this.wrong(pointer, problem) && good; continue; }
      const [, section, key] = pointer.split("/");
      if (key === undefined) body[section] = value;
      else (body[section] ??= {})[key] = value;
    }
    if (!good) this.focusFirst();
    return good ? body : undefined;
  }

  wrong(pointer, words) {
    const input = document.getElementById(idOf(pointer)) ?? document.getElementById(idOf(pointer.split("/").slice(0, 3).join("/")));
    if (!input) { this.complaint.textContent = words; return false; }
    input.setAttribute("aria-invalid", "true");
    document.getElementById(`${input.id}-wrong`).textContent = words;
    const more = input.closest("details");
    if (more) more.open = true;
    return false;
  }

  refused(error) {
    this.clear();
    this.complaint.textContent = error.errors.some((one) => one.pointer) ? "" : error.message;
    for (const one of error.errors) if (one.pointer) this.wrong(one.pointer, one.detail);
    this.focusFirst();
  }

  clear() {
    this.complaint.textContent = "";
    for (const input of this.place.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    for (const words of this.place.querySelectorAll(".wrong")) words.textContent = "";
  }

  focusFirst() {
    this.place.querySelector("[aria-invalid]")?.focus();
  }
}

function parse(text, kind, pointer, unit) {
  if (kind.type === "boolean") return [text === "true"];
  if (kind.type === "array") {
    const parts = text.split(/\n/).map((part) => part.trim()).filter(Boolean);
    if (pointer === "/seeds") {
      const bad = parts.find((part) => !/^https?:\/\/[^\s/]/i.test(part));
      return bad ? [null, `“${bad}” does not start with http:// or https://`] : [parts];
    }
    return [kind.items?.type === "integer" ? parts.map(Number) : parts];
  }
  if (kind.type === "object") {
    try { return [JSON.parse(text)]; } catch { return [null, "Not JSON."]; }
  }
  if ((kind.type === "integer" || kind.type === "number") && !unit) {
    const value = Number(text);
    if (!Number.isFinite(value)) return [null, "Not a number."];
    if (kind.type === "integer" && !Number.isInteger(value)) return [null, "Not a whole number."];
    if (kind.minimum !== undefined && value < kind.minimum) return [null, `At least ${kind.minimum}.`];
    if (kind.maximum !== undefined && value > kind.maximum) return [null, `At most ${kind.maximum}.`];
    return [value];
  }
  return [text];
}
