// The `openai` package for Node.
import { zodResponseFormat } from "openai/helpers/zod";

import { answerQuestions } from "./answering.mjs";
import { limits, openClient } from "./openai_client.mjs";
import { QUESTION, RESULT, SHAPE, WEATHER, said } from "./questions.mjs";

const usageOf = (usage) => (usage ? [usage.prompt_tokens, usage.completion_tokens] : null);
const plain = (question) => ({
  model: question.model,
  messages: [{ role: "user", content: said(question) }],
  ...question.options,
});

async function chat(question) {
  const made = await openClient(question).chat.completions.create(plain(question), limits(question));
  const [choice] = made.choices;
  return {
    text: choice.message.content,
    finish: choice.finish_reason,
    usage: usageOf(made.usage),
    reasoning: choice.message.reasoning_content ?? null,
  };
}

async function stream(question) {
  const gave = { text: "", finish: null, usage: null, reasoning: "" };
  const asked = { ...plain(question), stream: true, stream_options: { include_usage: true } };
  const chunks = await openClient(question).chat.completions.create(asked, limits(question));
  for await (const chunk of chunks) {
    gave.usage = usageOf(chunk.usage) ?? gave.usage;
    for (const choice of chunk.choices) {
      gave.text += choice.delta.content ?? "";
      gave.reasoning += choice.delta.reasoning_content ?? "";
      gave.finish = choice.finish_reason ?? gave.finish;
    }
  }
  return gave;
}

async function stream_helper(question) {
  const made = await openClient(question).chat.completions.stream(plain(question)).finalChatCompletion();
  return { text: made.choices[0].message.content, finish: made.choices[0].finish_reason };
}

async function roundOfTools(question, streamed) {
  const { completions } = openClient(question).chat;
  const messages = [{ role: "user", content: QUESTION }];
  const calls = [];
  let message;
  for (let turn = 0; turn < 2; turn++) {
    const asked = { model: question.model, messages, tools: [WEATHER] };
    const made = streamed ? await completions.stream(asked).finalChatCompletion() : await completions.create(asked);
    message = made.choices[0].message;
    messages.push(message);
    for (const call of message.tool_calls ?? []) {
      calls.push([call.function.name, JSON.parse(call.function.arguments)]);
      messages.push({ role: "tool", tool_call_id: call.id, content: RESULT });
    }
  }
  return { calls, text: message.content };
}

async function structured(question) {
  const made = await openClient(question).chat.completions.parse({
    ...plain(question),
    response_format: zodResponseFormat(SHAPE, "weather"),
  });
  return made.choices[0].message.parsed;
}

async function models(question) {
  const names = [];
  for await (const model of openClient(question).models.list()) names.push(model.id);
  return names;
}

async function headers(question) {
  const { response } = await openClient(question).chat.completions.create(plain(question)).withResponse();
  return Object.fromEntries(response.headers);
}

async function cancel(question) {
  const chunks = await openClient(question).chat.completions.create({ ...plain(question), stream: true });
  for await (const chunk of chunks) {
    const text = chunk.choices[0]?.delta.content;
    if (text) {
      chunks.controller.abort();
      return text;
    }
  }
}

async function embeddings(question) {
  const client = openClient(question);
  const asked = { model: question.model, input: ["one", "two"] };
  const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const packed = await client.embeddings.create(asked);
  const near = (a, b) => a.every((number, at) => Math.abs(number - b[at]) < 1e-6);
  return {
    sizes: floats.data.map((item) => item.embedding.length),
    same: floats.data.every((item, at) => near(item.embedding, packed.data[at].embedding)),
  };
}

await answerQuestions({
  chat,
  stream,
  stream_helper,
  tools: (question) => roundOfTools(question, false),
  stream_tools: (question) => roundOfTools(question, true),
  structured,
  models,
  headers,
  cancel,
  embeddings,
});
