// Ask endpoints side by side: streamed, stopped, with the timeline of what just ran, and the same as code.

import { content, csrf, el, get, ms, root, say } from "./desk.js";
import { timeline } from "./timeline.js";

const endpoints = await get("endpoints");
const nameOf = (one) => `${one.project}/${one.slug}`;
const wanted = new URLSearchParams(location.search).getAll("endpoint");
const message = el("textarea", { "data-testid": "playground-message", "aria-label": "Message" });
const send = el("button", { type: "button" }, "Send");
const stop = el("button", { type: "button", disabled: true }, "Stop");
const picks = el("fieldset", { class: "card" }, el("legend", {}, "Endpoints"), endpoints.map((one, index) => {
  const isOn = wanted.length ? wanted.includes(nameOf(one)) : index === 0;
  return el("label", {}, el("input", { type: "checkbox", value: nameOf(one), checked: isOn }), ` ${one.project_slug ?? ""}/${one.slug} `);
}));
const keeps = el("input", { type: "checkbox", id: "keeps" });
const answers = el("div", { class: "columns" });
content.append(picks, message, el("div", { class: "row" }, send, stop, keeps, el("label", { for: "keeps" }, "go on with the session")), answers);

const sessions = new Map();
let running = null;

async function ask(name, signal) {
  const text = el("pre", { class: "answer", "data-testid": "playground-answer", "aria-busy": "true" });
  const facts = el("p", { class: "soft" }), below = el("div", {});
  answers.append(el("section", { "aria-label": name }, el("h2", {}, name.slice(name.indexOf("/") + 1)), text, facts, below));
  const began = performance.now();
  const sent = { message: message.value, stream: true };
  if (keeps.checked && sessions.has(name)) sent.session_id = sessions.get(name);
  let meta = {}, first = null, requestId = null;
  try {
    const answer = await fetch(`${root}/playground/call/${name}`, { method: "POST", signal, credentials: "same-origin", headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf() }, body: JSON.stringify(sent) });
    requestId = answer.headers.get("x-request-id");
    if (!answer.ok) throw new Error((await answer.json()).error);
    if (!(answer.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      const whole = await answer.json();
      text.textContent = whole.content ?? JSON.stringify(whole.tool_calls, null, 2);
      meta = whole.meta ?? {};
    } else {
      for await (const given of events(answer.body)) {
        if (given.ok === false) throw new Error(given.error);
        const delta = given.choices?.[0]?.delta ?? {};
        if (delta.content) { first ??= performance.now() - began; text.append(delta.content); }
        if (given.meta?.request_id) meta = given.meta;
      }
    }
    facts.textContent = `${ms(performance.now() - began)}${first === null ? "" : `, first token after ${ms(first)}`}`;
  } catch (error) {
    facts.className = "bad";
    facts.textContent = signal.aborted ? `Stopped after ${ms(performance.now() - began)}.` : error.message;
  }
  text.setAttribute("aria-busy", "false");
  if (meta.session_id) sessions.set(name, meta.session_id);
  below.append(code(name));
  const id = meta.request_id ?? requestId;
  if (id) { below.append(el("p", {}, el("a", { href: `${root}/requests/${id}` }, "The request"))); show(id, below); }
}

/** The row is in the log within a moment. */
async function show(id, below) {
  for (let turn = 0; turn < 20; turn += 1) {
    const newest = await get("requests?limit=100");
    if (newest.some((one) => one.request_id === id)) { below.prepend(timeline(await get(`requests/${id}`))); return; }
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

async function* events(stream) {
  let rest = "";
  for await (const part of stream.pipeThrough(new TextDecoderStream())) {
    rest += part;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

function code(name) {
  const url = `https://GATEWAY/api/${name}`, sent = JSON.stringify({ message: message.value }), [project, slug] = name.split("/");
  const shapes = {
    curl: `curl -s ${url} \\\n  -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\\n  -d '${sent.replaceAll("'", "'\\''")}'`,
    Python: `from openai import OpenAI\n\nclient = OpenAI(base_url="https://GATEWAY/api/${project}/v1", api_key=TOKEN)\nanswer = client.chat.completions.create(model="${slug}", messages=[{"role": "user", "content": ${JSON.stringify(message.value)}}])`,
    JavaScript: `const answer = await fetch("${url}", {\n  method: "POST",\n  headers: { Authorization: \`Bearer \${TOKEN}\`, "Content-Type": "application/json" },\n  body: JSON.stringify(${sent}),\n});`,
  };
  return el("details", {}, el("summary", {}, "The same as code"), Object.entries(shapes).map(([title, text]) => [el("h3", {}, title), el("pre", {}, text)]));
}

send.addEventListener("click", async () => {
  const names = [...picks.querySelectorAll("input:checked")].map((box) => box.value);
  if (!message.value.trim() || !names.length) { say("Write a message and choose an endpoint.", true); return; }
  running = new AbortController();
  send.disabled = true;
  stop.disabled = false;
  say("Asking …");
  answers.replaceChildren();
  await Promise.all(names.map((name) => ask(name, running.signal)));
  send.disabled = false;
  stop.disabled = true;
  say("Done.");
});
stop.addEventListener("click", () => running?.abort());
addEventListener("pagehide", () => running?.abort());
