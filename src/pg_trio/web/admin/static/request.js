// One request: its race as a timeline, what it cost, its bodies where they are kept.

import { content, count, day, el, get, ms, root, row, table, usd } from "./desk.js";
import { timeline } from "./timeline.js";

const id = document.body.dataset.requestId;
const request = await get(`requests/${encodeURIComponent(id)}`);
const usage = request.usage ?? {};
const facts = [
  ["Time", day(request.at)], ["Project", request.project_slug ?? request.project], ["Endpoint", request.endpoint], ["Token", request.token], ["Answered by", request.model ? `${request.provider}/${request.model}` : "–"],
  ["Status", String(request.status)], ["Outcome", request.outcome], ["Error", request.error], ["Latency", ms(request.latency_ms)], ["First token", ms(request.first_token_ms)],
  ["Guardrails", (request.guardrails ?? []).map((one) => `${one.phase} ${one.guardrail}: ${one.action} ${one.rule} (${one.count})`).join(", ") || "–"],
  ["Deadline", ms(request.deadline_ms)], ["Tokens", `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out`], ["Cost", usd(request.cost_usd)],
  ...(request.node ? [["Node", request.node]] : []),
];
content.append(
  el("p", { class: "soft" }, request.request_id), timeline(request),
  el("h2", {}, "Attempts"),
  table("Attempts", ["Provider", "Model", "Outcome", "Reason", "Began", "Ended", "First token"],
    (request.attempts ?? []).map((one) => row(one.provider, one.model, one.outcome, el("td", { class: "wrap" }, one.reason ?? "–"), ms(one.start_ms), ms(one.end_ms), ms(one.first_token_ms)))),
  el("h2", {}, "Facts"), table("Facts", ["What", "Value"], facts.map(([name, value]) => row(name, el("td", { class: "wrap" }, value ?? "–")))),
  el("p", {}, el("a", { href: `${root}/playground?endpoint=${encodeURIComponent(`${request.project ?? ""}/${request.endpoint ?? ""}`)}` }, "Try again in the playground")),
);
for (const [name, text] of [["Request body", request.request_body], ["Answer body", request.response_body]]) {
  if (text) content.append(el("h2", {}, name), el("pre", {}, typeof text === "string" ? text : JSON.stringify(text, null, 2)));
}
