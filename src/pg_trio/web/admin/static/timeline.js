// A request's race on one time axis: each stage and each attempt a bar, the first token and the deadline marked.

import { el, ms } from "./desk.js";

const OUTCOMES = ["won", "failed", "cancelled", "lost", "skipped"];

const kindOf = (outcome) => OUTCOMES.find((known) => String(outcome).startsWith(known)) ?? "failed";

/** `request`: what the admin API says of one request. */
export function timeline(request) {
  const stages = request.stages ?? [], attempts = request.attempts ?? [];
  const ends = [...stages, ...attempts].map((part) => part.end_ms ?? 0);
  const longest = Math.max(request.latency_ms ?? 0, request.deadline_ms ?? 0, ...ends, 1);
  const percent = (at) => `${(100 * at) / longest}%`;
  const made = el("div", { class: "timeline", "data-testid": "timeline", role: "group", "aria-label": "Timeline of the request" });
  for (const part of stages) made.append(track(part, "stage", part.name, "ok", percent));
  for (const part of attempts) made.append(track(part, "attempt", `${part.provider}/${part.model}`, kindOf(part.outcome), percent));
  if (request.first_token_ms !== null && request.first_token_ms !== undefined) made.append(mark("timeline-first-token", "mark first", request.first_token_ms, "First token", percent));
  if (request.deadline_ms) made.append(mark("timeline-deadline", "mark", request.deadline_ms, "Deadline", percent));
  for (let step = 0; step <= 4; step += 1) {
    const tick = el("span", { class: "tick", "aria-hidden": "true" }, ms((longest * step) / 4));
    tick.style.left = step === 0 ? "24px" : step === 4 ? "calc(100% - 28px)" : `${25 * step}%`;
    made.append(tick);
  }
  return made;
}

function track(part, kind, name, outcome, percent) {
  const start = part.start_ms ?? 0, end = part.end_ms ?? start;
  const said = `${name}: ${ms(start)} to ${ms(end)}${part.reason ? `, ${part.reason}` : kind === "attempt" ? `, ${part.outcome}` : ""}`;
  const bar = el("div", {
    class: "bar", "data-testid": "timeline-bar", "data-kind": kind, "data-outcome": outcome,
    "data-start-ms": String(start), "data-end-ms": String(end), title: said, role: "img", "aria-label": said,
  });
  bar.style.left = percent(start);
  bar.style.width = percent(Math.max(0, end - start));
  const label = el("span", { class: "bar-name", "aria-hidden": "true" }, kind === "attempt" ? `${name} · ${part.reason ?? part.outcome}` : name);
  label.style.left = `min(${percent(end)}, 60%)`;
  return el("div", { class: "track" }, bar, label);
}

function mark(testid, kind, at, name, percent) {
  const made = el("div", { class: kind, "data-testid": testid, role: "img", "aria-label": `${name} at ${ms(at)}`, title: `${name}: ${ms(at)}` });
  made.style.left = percent(at);
  return made;
}
