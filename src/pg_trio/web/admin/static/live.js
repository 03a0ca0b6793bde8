// Requests as they come, filtered by words; paused, exported.

import { call, content, count, el, get, ms, root, row, say, table, time, usd, whileSeen } from "./desk.js";

const SHOWN = 500;
let rows = [], paused = false;

const filter = el("input", { type: "search", "data-testid": "live-filter", "aria-label": "Filter", placeholder: "status:502 provider:openai endpoint:ask error:deadline", size: "50" });
const pause = el("button", { type: "button", "aria-pressed": "false" }, "Pause");
const list = el("tbody", {});
const frame = table("Requests", ["Time", "Request", "Project", "Endpoint", "Model", "Status", "Outcome", "Latency", "First token", "Tokens", "Cost"], []);
frame.querySelector("tbody").replaceWith(list);

const query = () => (filter.value.trim() ? `&filter=${encodeURIComponent(filter.value.trim())}` : "");

function line(request) {
  const link = el("a", { href: `${root}/requests/${request.request_id}` }, request.request_id.slice(0, 8));
  const made = row(time(request.at), link, request.project_slug ?? request.project, request.endpoint, request.model ? `${request.provider}/${request.model}` : null,
    el("td", { class: request.status < 400 ? "ok" : request.status < 500 ? "warn" : "bad" }, String(request.status)),
    request.error ?? request.outcome, ms(request.latency_ms), ms(request.first_token_ms),
    request.usage ? count((request.usage.prompt_tokens ?? 0) + (request.usage.completion_tokens ?? 0)) : null, usd(request.cost_usd));
  made.dataset.testid = "live-row";
  made.dataset.requestId = request.request_id;
  return made;
}

function add(request) {
  if (arrived) { arrived.push(request); return; }
  if (rows.some((known) => known.request_id === request.request_id)) return;
  rows.unshift(request);
  const made = line(request);
  made.classList.add("fresh");
  list.prepend(made);
  while (rows.length > SHOWN) { rows.pop(); list.lastElementChild.remove(); }
}

const NONE = "No request yet that the filter shows.";
/** Say that there is nothing, or take it back; what else was said stays. */
function tell() {
  if (!rows.length) say(NONE);
  else if (document.getElementById("said").textContent === NONE) say("");
}

// What arrives while the list is read comes after it, so that nothing falls between the two.
let arrived = null, turn = 0;
async function load() {
  const own = ++turn;
  arrived = [];
  try {
    const found = await get(`requests?limit=100${query()}`);
    if (own !== turn) return;
    rows = found.slice();
    list.replaceChildren(...rows.map(line));
  } finally {
    if (own === turn) { const late = arrived; arrived = null; late.forEach(add); }
  }
  tell();
}

let follow = null;
function listen() {
  const source = new EventSource(`${root}/admin/api/v1/requests/stream?x=1${query()}`, { withCredentials: true });
  // The stream begins with what is logged from here on; what was logged before is in the list.
  source.onopen = () => { if (!paused) load(); };
  source.onmessage = (event) => { if (!paused) { const given = JSON.parse(event.data); if (given.request_id) { add(given); tell(); } } };
  follow = () => { source.close(); follow = null; };
  return () => follow?.();
}

function save(kind) {
  // The server writes the file, so the page does not hold it in memory.
  el("a", { href: `${root}/admin/api/v1/requests?format=${kind}${query()}`, download: `requests.${kind}` }).click();
  say("The export is being downloaded.");
}

pause.addEventListener("click", async () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  if (!paused) await load();
});

let timer = null;
filter.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(async () => { await load(); if (follow) { follow(); listen(); } }, 250);
});

content.append(
  el("div", { class: "row" }, filter, pause, el("button", { type: "button", onclick: () => save("csv") }, "Export CSV"), el("button", { type: "button", onclick: () => save("jsonl") }, "Export JSON")),
  el("p", { class: "soft" }, "Words: status: provider: model: endpoint: error: token: – other words are searched for in all of these."), frame);
await load();
whileSeen(listen);
