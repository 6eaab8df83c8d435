// Helpers of the page: elements, API requests, numbers for display.
// Text of crawled sites is never parsed as HTML.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const amount = (number) => Number(number ?? 0).toLocaleString("en").replaceAll(",", "\u202f");

export function size(bytes) {
  let rest = Number(bytes ?? 0);
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (rest < 1000) return `${unit === "B" ? rest : rest.toFixed(1)} ${unit}`;
    rest /= 1000;
  }
  return `${rest.toFixed(1)} TB`;
}

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.errors = problem.errors ?? [];
  }
}

export const token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set: (value) => sessionStorage.setItem("token", value),
};

function headers(more = {}) {
  return token.get() ? { Authorization: `Bearer ${token.get()}`, ...more } : more;
}

export async function api(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const found = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refused(answer.status, found ?? {});
  return found;
}

export async function save(path, name) {
  const answer = await fetch(path, { headers: headers() });
  if (!answer.ok) throw new Refused(answer.status, await answer.json());
  const url = URL.createObjectURL(await answer.blob());
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Server-sent events over fetch, because EventSource cannot send a token.
export async function listen(hear, state) {
  let last = null;
  let wait = 1000;
  for (;;) {
    try {
      const answer = await fetch("/events", { headers: headers(last === null ? {} : { "Last-Event-ID": last }) });
      if (answer.status === 401) return state("a token is needed", 401);
      if (!answer.ok) throw new Error(answer.status);
      state("connected", 200);
      wait = 1000;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        rest += value;
        const blocks = rest.split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const event = {};
          for (const line of block.split("\n")) {
            const place = line.indexOf(": ");
            if (place > 0) event[line.slice(0, place)] = line.slice(place + 2);
          }
          if (event.id) last = event.id;
          if (event.data) hear(event.event, JSON.parse(event.data));
        }
      }
      state("connection lost, trying again …", 0);
    } catch {
      state("no connection, trying again …", 0);
    }
    await new Promise((ready) => setTimeout(ready, wait));
    wait = Math.min(wait * 2, 15_000);
  }
}

export function table(caption, columns, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { class: "unseen", text: caption }),
      el("thead", {}, el("tr", {}, columns.map(([name, kind]) => el("th", { scope: "col", class: kind, text: name })))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, place) =>
        el("td", { class: columns[place][1] }, cell instanceof Node ? cell : String(cell ?? ""))))))));
}

export function chart(values, caption) {
  const space = "http://www.w3.org/2000/svg";
  const top = Math.max(1, ...values);
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("viewBox", "0 0 119 40");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "polyline");
  const from = 120 - values.length;
  line.setAttribute("points", values.map((value, place) => `${from + place},${39 - (value / top) * 38}`).join(" "));
  drawing.append(line);
  return el("figure", {}, drawing, el("figcaption", { text: caption }));
}
