// A client in Node (20 or later) without packages: streams an answer, reads on after a lost connection, and stops the
// answer at Ctrl-C.
//
//     PG_TRIO_TOKEN=pg_live_… node docs/examples/client.mjs http://127.0.0.1:8080/api/UUID/support "Why is the sky blue?"
//
// Reading on needs `resumable_streams = true` on the endpoint.
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";

const [url, question] = process.argv.slice(2);
const headers = { authorization: `Bearer ${process.env.PG_TRIO_TOKEN}`, "content-type": "application/json" };
let id = null; // of the request
let after = 0; // the number of the last event

async function* eventsOf(body) {
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + text).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      yield Object.fromEntries(event.split("\n").map((line) => /^(\w*): ?(.*)/.exec(line).slice(1)));
    }
  }
}

async function read(response) {
  id ??= response.headers.get("x-request-id");
  if (response.headers.get("content-type") === "application/json") { // an endpoint that does not stream
    process.stdout.write((await response.json()).content ?? "");
    return true;
  }
  for await (const event of eventsOf(response.body)) {
    if (event.id) after = Number(event.id.split(":")[1]);
    if (event.data === "[DONE]") return true;
    const said = JSON.parse(event.data ?? "{}");
    if (event.event === "error") fail(said.error);
    process.stdout.write(said.choices?.[0]?.delta?.content ?? "");
  }
  return false;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const resume = () => fetch(`${url}/streams/${id}?after=${after}`, { headers });
let ask = () => fetch(url, { method: "POST", headers, body: JSON.stringify({ message: question, stream: true }) });

process.on("SIGINT", async () => {
  if (id) await fetch(`${url}/streams/${id}`, { method: "DELETE", headers });
  else process.exit(130);
});

for (let tries = 0; tries < 8; tries++) {
  const before = after;
  try {
    const response = await ask();
    if (!response.ok) fail(`${(await response.json()).error} (${response.status})`);
    if (await read(response)) break;
  } catch (lost) {
    if (!id) fail(`The gateway cannot be reached: ${lost.cause?.message ?? lost.message}`);
  }
  if (after > before) tries = 0;
  ask = resume;
  await pause(100 * 2 ** tries);
}
process.stdout.write("\n");
process.exit(0);
