// Lets a test talk to a real client: a question a line on standard input, its answer a line on standard output.
// A question is `{"scenario": NAME, …}`. Its answer is `{"gave": …}`, or `{"raised": …}` with what the client raised.
import { createInterface } from "node:readline";

// The clients' own prints go to standard error.
console.log = console.info = console.debug = console.error;

export async function answerQuestions(scenarios) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { scenario, ...question } = JSON.parse(line);
    let said;
    try {
      said = { gave: (await scenarios[scenario](question)) ?? null };
    } catch (error) {
      said = { raised: describe(error) };
    }
    process.stdout.write(JSON.stringify(said) + "\n");
  }
}

export async function collect(items) {
  const list = [];
  for await (const item of items) list.push(item);
  return list;
}

function describe(error) {
  // A class may be told by a name alone.
  const classes = error?.name ? [error.name] : [];
  for (let made = Object.getPrototypeOf(Object(error)); made; made = Object.getPrototypeOf(made)) {
    classes.push(made.constructor.name);
  }
  // The Vercel AI SDK tells of its last try in an error of its own.
  const last = error?.lastError ?? error;
  return {
    classes,
    message: String(error?.message ?? error),
    status_code: last?.status ?? last?.statusCode ?? null,
    code: last?.code ?? null,
    param: last?.param ?? null,
    type: last?.type ?? null,
    request_id: last?.requestID ?? null,
    body: last?.responseBody ?? null,
  };
}
