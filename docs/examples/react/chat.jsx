// A chat with the Vercel AI SDK's useChat against /v1: the model's stream is read in the browser, with a token that the
// page's own server has minted. Bundle it with: esbuild chat.jsx --bundle --format=esm --outfile=chat.js
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { useChat } from "@ai-sdk/react";
import { convertToModelMessages, streamText } from "ai";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const { gateway, project, endpoint } = await (await fetch("settings.json")).json();

// useChat asks a route of the page's own server by default. This transport asks the gateway.
const transport = {
  async sendMessages({ messages, abortSignal }) {
    const { token } = await (await fetch("token", { method: "POST" })).json();
    const provider = createOpenAICompatible({ name: "pg_trio", baseURL: `${gateway}/api/${project}/v1`, apiKey: token });
    const result = streamText({
      model: provider.chatModel(endpoint),
      messages: await convertToModelMessages(messages),
      abortSignal,
      maxRetries: 0,
    });
    return result.toUIMessageStream({ onError: (error) => `${error.message} (${error.statusCode ?? "no status"})` });
  },
  async reconnectToStream() {
    return null;
  },
};

function Chat() {
  const [question, setQuestion] = useState("");
  const { messages, sendMessage, status, stop, error } = useChat({ transport });
  const isRunning = status === "submitted" || status === "streaming";
  const send = (event) => {
    event.preventDefault();
    if (question && !isRunning) sendMessage({ text: question });
    setQuestion("");
  };
  return (
    <>
      <main aria-live="polite">
        {messages.map(({ id, role, parts }) => (
          <pre key={id} className={role}>{parts.map((part) => (part.type === "text" ? part.text : "")).join("")}</pre>
        ))}
      </main>
      <p id="error" role="alert">{error?.message}</p>
      <form onSubmit={send}>
        <input id="question" aria-label="Question" value={question} onChange={(event) => setQuestion(event.target.value)} />{" "}
        <button>Send</button> <button type="button" onClick={stop} disabled={!isRunning}>Stop</button>
      </form>
    </>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
