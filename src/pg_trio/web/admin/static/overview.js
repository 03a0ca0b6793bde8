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
  if (endpoint.value) query.set("endpoint", endpoint.value);
  if (provider.value) query.set("provider", provider.value);
  const given = await get(`overview?${query}`);
  cards.replaceChildren(
    card("requests", count(given.requests)), card("errors", count(given.errors), given.errors ? "bad" : "ok"), card("latency p50", ms(given.latency_ms?.p50)), card("p95", ms(given.latency_ms?.p95)), card("p99", ms(given.latency_ms?.p99)),
    card("first token p50", ms(given.first_token_ms?.p50)), card("first token p95", ms(given.first_token_ms?.p95)), card("tokens", count(given.tokens?.total ?? ((given.tokens?.input ?? 0) + (given.tokens?.output ?? 0)))), card("spend", usd(given.cost_usd)),
    card("hedges won", `${count(given.hedges?.won)} of ${count(given.hedges?.made ?? given.hedges?.total)}`), card("saved by hedges", ms(given.hedges?.saved_ms)), card("deadline misses", count(given.deadline_misses), given.deadline_misses ? "bad" : "ok"));
  for (const budget of given.budgets ?? []) cards.append(card(`budget of ${budget.endpoint}`, `${usd(budget.spent_usd)} of ${usd(budget.limit_usd)}`));
  charts.replaceChildren();
  const series = given.series ?? [];
  if (series.length > 1) {
    const times = series.map((point) => point.at);
    chart("Requests and errors", times, [["requests", "--blue", series.map((point) => point.requests)], ["errors", "--red", series.map((point) => point.errors)]]);
    chart("Latency in milliseconds", times, [["p50", "--green", series.map((point) => point.p50_ms ?? null)], ["p95", "--amber", series.map((point) => point.p95_ms ?? null)]]);
  }
}

for (const one of await get("endpoints").catch(() => [])) endpoint.append(el("option", { value: one.slug }, one.slug));
for (const one of await get("providers").catch(() => [])) provider.append(el("option", { value: one.name }, one.name));
for (const select of [range, endpoint, provider]) select.addEventListener("change", load);
await load();
whileSeen(() => { const timer = setInterval(load, 10000); return () => clearInterval(timer); });
