// OpenAI's client for Node, for one question.
import OpenAI from "openai";

export const openClient = (question) =>
  new OpenAI({
    baseURL: question.base + "/v1",
    apiKey: question.token,
    maxRetries: question.max_retries ?? 0,
    defaultHeaders: question.headers,
  });

// It tells the server of a request's own timeout alone, not of the client's.
export const limits = (question) => (question.timeout ? { timeout: question.timeout * 1000 } : {});
