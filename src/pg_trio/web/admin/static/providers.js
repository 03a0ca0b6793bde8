// Every provider with a switch, and every candidate's breaker, latency, errors and slots.

import { call, content, count, el, get, ms, row, table, toggle, whileSeen } from "./desk.js";

const switches = el("div", { class: "cards" });
const rows = el("tbody", {});
const frame = table("Candidates", ["Provider", "Model", "Credential", "Breakers", "p50", "p95", "Errors", "Slots"], []);
frame.querySelector("tbody").replaceWith(rows);
content.append(switches, el("h2", {}, "Candidates"), frame);

const shown = new Map();

async function load() {
  const providers = await get("providers");
  for (const provider of providers) {
    if (!shown.has(provider.name)) {
      const button = toggle(provider.name, provider.is_active, (next) => call("PATCH", `providers/${provider.name}`, { is_active: next }));
      shown.set(provider.name, button);
      switches.append(el("div", { class: "card" }, el("span", {}, provider.name), el("br"), button));
    }
    const button = shown.get(provider.name);
    if (!button.disabled || document.body.dataset.role === "viewer") { button.setAttribute("aria-checked", String(provider.is_active)); button.textContent = provider.is_active ? "on" : "off"; }
  }
  const candidates = providers.flatMap((provider) => (provider.candidates ?? []).map((one) => ({ provider: provider.name, ...one })));
  rows.replaceChildren(...candidates.map((one) => {
    const recent = one.recent ?? {}, slots = one.slots ?? {};
    return row(one.provider, one.model, one.credential, el("td", { class: `wrap ${/open/.test(one.line ?? "") ? "bad" : "ok"}` }, one.line ?? "–"),
      ms(recent.p50_ms), ms(recent.p95_ms), recent.error_share === undefined || recent.error_share === null ? "–" : `${Math.round(100 * recent.error_share)} %`,
      slots.limit ? `${count(slots.used)} of ${count(slots.limit)}` : "–");
  }));
}

await load();
whileSeen(() => { const timer = setInterval(load, 2000); return () => clearInterval(timer); });
