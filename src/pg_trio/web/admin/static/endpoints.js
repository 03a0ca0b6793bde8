// Each endpoint: what holds now, what an operator changed, a switch, and a way back to the file.

import { call, content, count, el, get, mayChange, root, row, say, table, toggle, usd } from "./desk.js";

const FIELDS = ["rate_limit_per_minute", "rate_limit_per_hour", "monthly_budget_usd", "usage_hard_limit_tokens", "deadline_ms", "stream_deadline_ms", "hedge_after_ms", "max_attempts"];

async function load() {
  const endpoints = await get("endpoints");
  const rows = endpoints.map((one) => {
    const name = `${one.project_slug ?? one.project}/${one.slug}`, path = `endpoints/${one.project}/${one.slug}`;
    const overrides = Object.entries(one.overrides ?? {});
    return row(name, toggle(name, one.is_active, (next) => call("PATCH", path, { is_active: next })),
      el("td", { class: "wrap" }, `${one.settings.provider}/${one.settings.model}`), one.spend?.budget_usd ? `${usd(one.spend.spent_usd)} of ${usd(one.spend.budget_usd)}` : "–",
      count(one.settings.rate_limit_per_minute), count(one.settings.deadline_ms),
      el("td", { class: "wrap" }, overrides.length ? overrides.map(([field, value]) => `${field} = ${JSON.stringify(value)}`).join(", ") : "–"),
      el("td", {}, el("button", { type: "button", disabled: !mayChange, onclick: () => edit(one, path, name) }, "Change"), " ",
        overrides.length ? el("button", { type: "button", disabled: !mayChange, onclick: async () => { await call("PATCH", path, Object.fromEntries(overrides.map(([field]) => [field, null]))); say(`${name} is as in the file again.`); await load(); } }, "Back to the file") : null, " ",
        el("a", { href: `${root}/playground?endpoint=${encodeURIComponent(`${one.project}/${one.slug}`)}` }, "Try it")));
  });
  content.replaceChildren(table("Endpoints", ["Endpoint", "Active", "Model", "Spend of the month", "Requests a minute", "Deadline (ms)", "Changed by operators", ""], rows), editor);
}

const editor = el("div", {});

function edit(one, path, name) {
  const inputs = new Map(FIELDS.map((field) => [field, el("input", { id: `f-${field}`, inputmode: "decimal", value: one.settings[field] ?? "" })]));
  const before = new Map([...inputs].map(([field, input]) => [field, input.value]));
  const form = el("form", { class: "card" }, el("h2", {}, `Change ${name}`), [...inputs].map(([field, input]) => el("p", {}, el("label", { for: `f-${field}` }, `${field} `), input)),
    el("p", { class: "soft" }, "An empty field takes the change back: the file's own value holds."), el("button", {}, "Save"), " ", el("button", { type: "button", onclick: () => editor.replaceChildren() }, "Cancel"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const changed = [...inputs].filter(([field, input]) => input.value !== before.get(field));
    if (!changed.length) return;
    await call("PATCH", path, Object.fromEntries(changed.map(([field, input]) => [field, input.value.trim() === "" ? null : Number(input.value)])));
    say(`${name} is changed, in every worker within a second.`);
    editor.replaceChildren();
    await load();
  });
  editor.replaceChildren(form);
  form.querySelector("input").focus();
}

await load();
