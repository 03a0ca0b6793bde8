// Who changed what, when, from where.

import { call, content, day, el, row, table } from "./desk.js";

const list = el("tbody", {});
const frame = table("Audit", ["Time", "Operator", "Action", "Target", "Change", "Address"], []);
frame.querySelector("tbody").replaceWith(list);
const more = el("button", { type: "button", onclick: () => load() }, "Earlier");
content.append(frame, el("p", {}, more));
let next = null;

async function load() {
  const page = await call("GET", `audit?limit=100${next ? `&cursor=${encodeURIComponent(next)}` : ""}`);
  list.append(...page.data.map((one) => row(day(one.at), one.operator, one.action, one.target, el("td", { class: "wrap" }, one.change === null ? "–" : JSON.stringify(one.change)), one.address)));
  next = page.next;
  more.hidden = !next;
}

await load();
