// What the pages share: elements, the admin API, tables, times. Nothing here sets HTML from text.

const body = document.body;
export const root = body.dataset.root;
export const mayChange = body.dataset.role === "operator";
export const content = document.getElementById("content");

/** An element with attributes (`onclick` etc. are listeners; `data-…` as they are) and children. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Say something to people and screen readers. */
export function say(text, isBad = false) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.className = isBad ? "bad" : "";
}

/** The admin API: its whole answer. A failure is said, and thrown. */
export async function call(method, path, sent) {
  const answer = await fetch(`${root}/admin/api/v1/${path}`, {
    method,
    credentials: "same-origin",
    headers: { "X-CSRF-Token": body.dataset.csrf, ...(sent === undefined ? {} : { "Content-Type": "application/json" }) },
    body: sent === undefined ? undefined : JSON.stringify(sent),
  });
  if (answer.status === 401) location.assign(`${root}/login?next=${encodeURIComponent(location.pathname.slice(root.length))}`);
  const given = await answer.json().catch(() => ({ ok: false, error: `HTTP ${answer.status}` }));
  if (!answer.ok) {
    say(given.error, true);
    throw new Error(given.error);
  }
  return given;
}

export const get = async (path) => (await call("GET", path)).data;
export const csrf = () => body.dataset.csrf;

/** A table that a phone can scroll. */
export function table(caption, heads, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows)));
}

export const row = (...cells) => el("tr", {}, cells.map((cell) => cell instanceof HTMLTableCellElement ? cell : el("td", {}, cell ?? "–")));
export const ms = (value) => value === null || value === undefined ? "–" : value < 10 ? `${value.toFixed(1)} ms` : value < 10000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
export const usd = (value) => value === null || value === undefined ? "–" : `$${Number(value).toFixed(value < 1 ? 4 : 2)}`;
export const count = (value) => value === null || value === undefined ? "–" : Number(value).toLocaleString("en");
export const time = (at) => new Date(at * 1000).toLocaleTimeString();
export const day = (at) => at ? new Date(at * 1000).toLocaleString() : "never";

/** A switch: a button that says on or off, with the thing's name. */
export function toggle(name, isOn, change) {
  const made = el("button", { role: "switch", "aria-checked": String(isOn), "aria-label": name, disabled: !mayChange }, isOn ? "on" : "off");
  made.addEventListener("click", async () => {
    const next = made.getAttribute("aria-checked") !== "true";
    made.disabled = true;
    try {
      await change(next);
      made.setAttribute("aria-checked", String(next));
      made.textContent = next ? "on" : "off";
      say(`${name} is ${next ? "on" : "off"}.`);
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

/** Run while the page is seen: `start` returns what stops it. Browsers allow six connections a host. */
export function whileSeen(start) {
  let stop = null;
  const follow = () => {
    if (document.hidden) { stop?.(); stop = null; } else { stop ??= start(); }
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", () => { stop?.(); stop = null; });
  follow();
}
