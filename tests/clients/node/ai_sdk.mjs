// The Vercel AI SDK (`ai`) with one of its providers: node ai_sdk.mjs compatible|openai|anthropic
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, stepCountIs, streamText, tool } from "ai";

import { answerQuestions } from "./answering.mjs";
import { CITY, PIXEL, QUESTION, RESULT, SHAPE, said } from "./questions.mjs";

const PROVIDERS = {
  compatible: (settings) =>
    createOpenAICompatible({ name: "gateway", includeUsage: true, supportsStructuredOutputs: true, ...settings }),
  // Its default is the Responses API.
  openai: createOpenAI,
  // It sends the token as `x-api-key`.
  anthropic: createAnthropic,
};

const openProvider = (question) =>
  PROVIDERS[process.argv[2]]({
    baseURL: question.base + "/v1",
    apiKey: question.token,
    headers: question.headers,
  });

const asked = (question) => ({
  model: openProvider(question)(question.model),
  maxRetries: question.max_retries ?? 0,
  ...(question.timeout ? { abortSignal: AbortSignal.timeout(question.timeout * 1000) } : {}),
  ...question.options,
});

const usageOf = (usage) => [usage.inputTokens, usage.outputTokens];

async function chat(question) {
  const made = await generateText({ ...asked(question), prompt: said(question) });
  return {
    text: made.text,
    finish: made.finishReason,
    usage: usageOf(made.usage),
    reasoning: made.reasoningText ?? null,
  };
}

// A program that reads `fullStream`; an error is one of its parts.
async function readStream(result) {
  let text = "";
  let reasoning = "";
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") text += part.text;
    if (part.type === "reasoning-delta") reasoning += part.text;
  }
  return { text, reasoning, finish: await result.finishReason, usage: usageOf(await result.usage) };
}

const quiet = { onError: () => {} };

const stream = (question) => readStream(streamText({ ...asked(question), ...quiet, prompt: said(question) }));

// A program that awaits the text of a stream.
async function stream_helper(question) {
  const result = streamText({ ...asked(question), ...quiet, prompt: said(question) });
  await result.consumeStream();
  return { text: await result.text, finish: await result.finishReason };
}

const withTools = (question, calls) => ({
  ...asked(question),
  prompt: QUESTION,
  stopWhen: stepCountIs(3),
  tools: {
    get_weather: tool({
      description: "Weather of a city",
      inputSchema: CITY,
      execute: async (input) => {
        calls.push(["get_weather", input]);
        return RESULT;
      },
    }),
  },
});

async function tools(question) {
  const calls = [];
  return { calls, text: (await generateText(withTools(question, calls))).text };
}

async function stream_tools(question) {
  const calls = [];
  return { calls, text: (await readStream(streamText({ ...withTools(question, calls), ...quiet }))).text };
}

async function structured(question) {
  return (await generateObject({ ...asked(question), schema: SHAPE, prompt: said(question) })).object;
}

async function headers(question) {
  return (await generateText({ ...asked(question), prompt: said(question) })).response.headers;
}

async function cancel(question) {
  const control = new AbortController();
  const result = streamText({ ...asked(question), ...quiet, prompt: said(question), abortSignal: control.signal });
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") {
      control.abort();
      return part.text;
    }
  }
}

async function image(question) {
  const content = [
    { type: "image", image: PIXEL },
    { type: "text", text: "What is this?" },
  ];
  const made = await generateText({ ...asked(question), messages: [{ role: "user", content }] });
  return { text: made.text };
}

async function embeddings(question) {
  const model = openProvider(question).textEmbeddingModel(question.model);
  const made = await embedMany({ model, values: ["one", "two"], maxRetries: 0 });
  return { sizes: made.embeddings.map((each) => each.length), same: true };
}

await answerQuestions({ chat, stream, stream_helper, tools, stream_tools, structured, headers, cancel, image, embeddings });
