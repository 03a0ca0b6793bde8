// The gateway at a glance: what came, what failed, how long it took, what it cost.

import { content, count, el, get, ms, usd, whileSeen } from "./desk.js";
import uPlot from "./uplot.js";

const ranges = { "15m": "15 minutes", "1h": "1 hour", "24h": "1 day", "7d": "7 days", "30d": "30 days" };
const range = el("select", { "aria-label": "Time range" }, Object.entries(ranges).map(([value, name]) => el("option", { value, selected: value === "1h" }, name)));
const endpoint = el("select", { "aria-label": "Endpoint" }, el("option", { value: "" }, "all endpoints"));
const provider = el("select", { "aria-label": "Provider" }, el("option", { value: "" }, "all providers"));
const cards = el("div", { class: "cards" });
const charts = el("div", {});
content.append(el("div", { class: "row" }, range, endpoint, provider), cards, charts);

const card = (name, value, kind = "") => el("div", { class: "card" }, el("b", { class: kind }, value), el("span", {}, name));

function chart(title, times, series) {
  const box = el("figure", { class: "chart" }, el("figcaption", {}, title));
  const soft = getComputedStyle(document.documentElement).getPropertyValue("--soft"), line = getComputedStyle(document.documentElement).getPropertyValue("--line");
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  charts.append(box);
  new uPlot({ width: Math.min(1200, Math.max(300, content.clientWidth - 10)), height: 200, axes: [axis, axis], series: [{}, ...series.map(([label, colour]) => ({ label, stroke: getComputedStyle(document.documentElement).getPropertyValue(colour), width: 2 }))] },
    [times, ...series.map(([, , values]) => values)], box);
}

async function load() {
  const query = new URLSearchParams({ range: range.value });
  const words = [endpoint.value && `endpoint:${endpoint.value}`, provider.value && `provider:${provider.value}`].filter(Boolean);
  if (words.length) query.set("filter", words.join(" "));
  const given = await get(`overview?${query}`);
  const total = given.total, hedges = total.hedges ?? {};
  cards.replaceChildren(
    card("requests", count(total.requests)), card("errors", count(total.errors), total.errors ? "bad" : "ok"), card("latency p50", ms(total.p50_ms)), card("p95", ms(total.p95_ms)), card("p99", ms(total.p99_ms)),
    card("first token p50", ms(total.first_token_p50_ms)), card("first token p95", ms(total.first_token_p95_ms)), card("tokens", count(total.total_tokens)), card("cost", usd(total.cost_usd)),
    card("spend of the month", given.budget?.budget_usd ? `${usd(given.budget.spent_usd)} of ${usd(given.budget.budget_usd)}` : "–"),
    card("hedges won", `${count(hedges.won)} of ${count(hedges.started)}`), card("saved by hedges", ms(hedges.saved_ms)), card("deadline misses", count(total.deadline_misses), total.deadline_misses ? "bad" : "ok"));
  charts.replaceChildren();
  const steps = given.steps ?? [], times = steps.map((step) => step.at);
  chart("Requests and errors", times, [["requests", "--blue", steps.map((step) => step.requests)], ["errors", "--red", steps.map((step) => step.errors)]]);
  chart("Latency in milliseconds", times, [["p50", "--green", steps.map((step) => step.p50_ms ?? null)], ["p95", "--amber", steps.map((step) => step.p95_ms ?? null)]]);
}

for (const one of await get("endpoints").catch(() => [])) endpoint.append(el("option", { value: one.slug }, one.slug));
for (const one of await get("providers").catch(() => [])) provider.append(el("option", { value: one.name }, one.name));
for (const select of [range, endpoint, provider]) select.addEventListener("change", load);
await load();
whileSeen(() => { const timer = setInterval(load, 10000); return () => clearInterval(timer); });
