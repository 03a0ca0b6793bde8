// Tokens: create, rotate, revoke. A new token's text is shown once.

import { call, content, day, el, get, mayChange, row, say, table } from "./desk.js";

const shown = el("div", { "aria-live": "polite" });
const list = el("div", {});

function show(text, name) {
  const code = el("code", {}, text);
  shown.replaceChildren(el("div", { class: "card" }, el("p", {}, `The token ${name}. It is shown once and not stored.`), code, " ",
    el("button", { type: "button", onclick: () => navigator.clipboard.writeText(text).then(() => say("Copied.")) }, "Copy")));
}

async function load() {
  const tokens = await get("tokens");
  list.replaceChildren(table("Tokens", ["Id", "Name", "Prefix", "Project", "Scopes", "State", "Created", "Last used", ""], tokens.map((one) => row(
    String(one.id), one.name, one.prefix, one.project_slug ?? one.project, (one.scopes ?? []).join(" "), el("td", { class: one.is_active ? "ok" : "bad" }, one.is_active ? "active" : "revoked"), day(one.created_at), day(one.last_used_at),
    one.is_active ? el("td", {}, el("button", { type: "button", disabled: !mayChange, "aria-label": `Rotate ${one.name}`, onclick: async () => { show((await call("POST", `tokens/${one.id}/rotate`)).data.token, one.name); await load(); } }, "Rotate"), " ",
      el("button", { type: "button", disabled: !mayChange, "aria-label": `Revoke ${one.name}`, onclick: async () => { if (confirm(`Revoke ${one.name} for good?`)) { await call("DELETE", `tokens/${one.id}`); say(`${one.name} is revoked.`); await load(); } } }, "Revoke")) : null))));
}

const projects = new Map((await get("endpoints")).map((one) => [one.project, one.project_slug ?? one.project]));
const project = el("select", { id: "project" }, [...projects].map(([uuid, name]) => el("option", { value: uuid }, name)));
const name = el("input", { id: "name", required: true, maxlength: "200" });
const form = el("form", { class: "row" }, el("label", { for: "project" }, "Project"), project, el("label", { for: "name" }, "Name"), name, el("button", { disabled: !mayChange }, "Create"));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const made = await call("POST", "tokens", { project: project.value, name: name.value, scopes: ["chat", "models"] });
  show(made.data.token, name.value);
  name.value = "";
  await load();
});
content.append(form, shown, list);
await load();
