// The Responses API of the `openai` package for Node.
import { zodTextFormat } from "openai/helpers/zod";

import { answerQuestions } from "./answering.mjs";
import { limits, openClient } from "./openai_client.mjs";
import { QUESTION, RESULT, SHAPE, WEATHER, said } from "./questions.mjs";

const TOOL = { type: "function", ...WEATHER.function };
const FINISHES = { completed: "stop" };

const asked = (question) => ({ model: question.model, input: said(question), store: false, ...question.options });
const described = (made) => ({
  text: made.output_text,
  finish: FINISHES[made.status] ?? made.status,
  usage: made.usage ? [made.usage.input_tokens, made.usage.output_tokens] : null,
});

const chat = async (question) =>
  described(await openClient(question).responses.create(asked(question), limits(question)));

// By the events as they come; a response that failed is told as the last of them.
async function stream(question) {
  let text = "";
  let made;
  const call = { ...asked(question), stream: true };
  for await (const event of await openClient(question).responses.create(call, limits(question))) {
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.completed") made = event.response;
    if (event.type === "response.failed") throw new Error(event.response.error?.message);
  }
  if (!made) throw new Error("the stream ended without its last event");
  return { ...described(made), text };
}

const stream_helper = async (question) =>
  described(await openClient(question).responses.stream(asked(question)).finalResponse());

async function roundOfTools(question, streamed) {
  const { responses: api } = openClient(question);
  const input = [{ role: "user", content: QUESTION }];
  const calls = [];
  let made;
  for (let turn = 0; turn < 2; turn++) {
    const call = { ...asked(question), input, tools: [TOOL] };
    made = streamed ? await api.stream(call).finalResponse() : await api.create(call);
    // The helper gives a response that failed, too: its status tells.
    if (made.status !== "completed") throw new Error(made.error?.message);
    for (const { parsed_arguments: _, ...item } of made.output) {
      input.push(item);
      if (item.type === "function_call") {
        calls.push([item.name, JSON.parse(item.arguments)]);
        input.push({ type: "function_call_output", call_id: item.call_id, output: RESULT });
      }
    }
  }
  return { calls, text: made.output_text };
}

async function structured(question) {
  const format = zodTextFormat(SHAPE, "weather");
  return (await openClient(question).responses.parse({ ...asked(question), text: { format } })).output_parsed;
}

async function headers(question) {
  const { response } = await openClient(question).responses.create(asked(question)).withResponse();
  return Object.fromEntries(response.headers);
}

async function cancel(question) {
  const events = await openClient(question).responses.create({ ...asked(question), stream: true });
  for await (const event of events) {
    if (event.type === "response.output_text.delta") {
      events.controller.abort();
      return event.delta;
    }
  }
}

await answerQuestions({
  chat,
  stream,
  stream_helper,
  tools: (question) => roundOfTools(question, false),
  stream_tools: (question) => roundOfTools(question, true),
  structured,
  headers,
  cancel,
});
