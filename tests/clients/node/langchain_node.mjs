// `ChatOpenAI` of the `@langchain/openai` package; with the word `responses`, on OpenAI's Responses API.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";

import { answerQuestions } from "./answering.mjs";
import { QUESTION, RESULT, SHAPE, WEATHER, said } from "./questions.mjs";

// What it sends and reads differs, what a program does with it does not. "Zero data retention" stores nothing.
const MODE = process.argv[2] === "responses" ? { useResponsesApi: true, zdrEnabled: true } : {};
// The Responses API tells how an answer ended in a word of its own.
const FINISHES = { completed: "stop" };

function openModel(question, more = {}) {
  return new ChatOpenAI({
    model: question.model,
    apiKey: question.token,
    maxRetries: question.max_retries ?? 0,
    ...(question.timeout ? { timeout: question.timeout * 1000 } : {}),
    configuration: { baseURL: question.base + "/v1", defaultHeaders: question.headers },
    ...question.options,
    ...MODE,
    ...more,
  });
}

const described = (message) => ({
  text: message.text,
  finish: message.response_metadata.finish_reason ?? FINISHES[message.response_metadata.status],
  usage: [message.usage_metadata?.input_tokens, message.usage_metadata?.output_tokens],
});

async function addUp(model, messages) {
  let whole;
  for await (const chunk of await model.stream(messages)) whole = whole ? whole.concat(chunk) : chunk;
  return whole;
}

const chat = async (question) => described(await openModel(question).invoke(said(question)));
const stream = async (question) => described(await addUp(openModel(question), said(question)));

async function roundOfTools(question, streamed) {
  const model = openModel(question).bindTools([WEATHER]);
  const messages = [new HumanMessage(QUESTION)];
  const calls = [];
  let message;
  for (let turn = 0; turn < 2; turn++) {
    message = streamed ? await addUp(model, messages) : await model.invoke(messages);
    messages.push(message);
    for (const call of message.tool_calls) {
      calls.push([call.name, call.args]);
      messages.push(new ToolMessage({ content: RESULT, tool_call_id: call.id }));
    }
  }
  return { calls, text: message.text };
}

const structured = async (question) =>
  openModel(question).withStructuredOutput(SHAPE, { name: "weather", method: "jsonSchema" }).invoke(said(question));

async function cancel(question) {
  const control = new AbortController();
  for await (const chunk of await openModel(question).stream(said(question), { signal: control.signal })) {
    if (chunk.text) {
      control.abort();
      return chunk.text;
    }
  }
}

async function embeddings(question) {
  const made = new OpenAIEmbeddings({
    model: question.model,
    apiKey: question.token,
    maxRetries: 0,
    configuration: { baseURL: question.base + "/v1" },
  });
  const vectors = await made.embedDocuments(["one", "two"]);
  return { sizes: vectors.map((vector) => vector.length), same: true };
}

await answerQuestions({
  chat,
  stream,
  tools: (question) => roundOfTools(question, false),
  stream_tools: (question) => roundOfTools(question, true),
  structured,
  cancel,
  embeddings,
});
