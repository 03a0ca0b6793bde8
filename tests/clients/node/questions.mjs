// What the scenarios of all Node clients ask: a tool, a shape of an answer.
import { z } from "zod";

export const QUESTION = "What is the weather in Ulm?";
export const RESULT = "7 degrees";
// 1×1, the smallest PNG.
export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
export const CITY = z.object({ city: z.string() });
export const SHAPE = z.object({ city: z.string(), degrees: z.number().int() });
export const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather of a city",
    strict: true,
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

export const said = (question) => question.content ?? "Hello there";
