// The `@anthropic-ai/sdk` package.
import Anthropic from "@anthropic-ai/sdk";

import { answerQuestions } from "./answering.mjs";
import { PIXEL, QUESTION, RESULT, WEATHER, said } from "./questions.mjs";

const TOOL = {
  name: "get_weather",
  description: WEATHER.function.description,
  input_schema: WEATHER.function.parameters,
};
const FINISHES = { end_turn: "stop" };

const openClient = (question) =>
  new Anthropic({
    baseURL: question.base,
    [question.token_as === "auth_token" ? "authToken" : "apiKey"]: question.token,
    maxRetries: question.max_retries ?? 0,
    defaultHeaders: question.headers,
  });
// It tells the server of a request's own timeout alone, not of the client's.
const limits = (question) => (question.timeout ? { timeout: question.timeout * 1000 } : {});
const asked = (question) => ({
  model: question.model,
  max_tokens: 1000,
  messages: [{ role: "user", content: said(question) }],
  ...question.options,
});

function described(message) {
  const join = (kind, field) =>
    message.content
      .filter((block) => block.type === kind)
      .map((block) => block[field])
      .join("");
  return {
    text: join("text", "text"),
    finish: FINISHES[message.stop_reason] ?? message.stop_reason,
    usage: [message.usage.input_tokens, message.usage.output_tokens],
    reasoning: join("thinking", "thinking") || null,
  };
}

const chat = async (question) => described(await openClient(question).messages.create(asked(question), limits(question)));

async function stream(question) {
  const gave = { text: "", finish: null, usage: null, reasoning: "" };
  const call = { ...asked(question), stream: true };
  for await (const event of await openClient(question).messages.create(call, limits(question))) {
    if (event.type === "message_delta") {
      gave.finish = FINISHES[event.delta.stop_reason] ?? event.delta.stop_reason;
      gave.usage = [event.usage.input_tokens, event.usage.output_tokens];
    } else if (event.type === "content_block_delta") {
      gave.text += event.delta.text ?? "";
      gave.reasoning += event.delta.thinking ?? "";
    }
  }
  return gave;
}

const stream_helper = async (question) =>
  described(await openClient(question).messages.stream(asked(question)).finalMessage());

async function roundOfTools(question, streamed) {
  const { messages: api } = openClient(question);
  const messages = [{ role: "user", content: QUESTION }];
  const calls = [];
  let made;
  for (let turn = 0; turn < 2; turn++) {
    const call = { ...asked(question), messages, tools: [TOOL] };
    made = streamed ? await api.stream(call).finalMessage() : await api.create(call);
    messages.push({ role: "assistant", content: made.content });
    const used = made.content.filter((block) => block.type === "tool_use");
    calls.push(...used.map((block) => [block.name, block.input]));
    const content = used.map((block) => ({ type: "tool_result", tool_use_id: block.id, content: RESULT }));
    messages.push({ role: "user", content });
  }
  return { calls, text: described(made).text };
}

async function headers(question) {
  const { response } = await openClient(question).messages.create(asked(question)).withResponse();
  return Object.fromEntries(response.headers);
}

async function cancel(question) {
  const events = openClient(question).messages.stream(asked(question));
  for await (const event of events) {
    if (event.type === "content_block_delta" && event.delta.text) {
      events.abort();
      return event.delta.text;
    }
  }
}

const count_tokens = async (question) => {
  const { model, messages } = asked(question);
  return (await openClient(question).messages.countTokens({ model, messages })).input_tokens;
};

async function image(question) {
  const source = { type: "base64", media_type: "image/png", data: PIXEL };
  const content = [{ type: "image", source }, { type: "text", text: "What is this?" }];
  return described(await openClient(question).messages.create({ ...asked(question), messages: [{ role: "user", content }] }));
}

await answerQuestions({
  chat,
  stream,
  stream_helper,
  tools: (question) => roundOfTools(question, false),
  stream_tools: (question) => roundOfTools(question, true),
  headers,
  cancel,
  count_tokens,
  image,
});
