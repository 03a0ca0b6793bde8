// Loaded before Portkey's gateway where its streams are measured. Its build appends to the headers of what fetch()
// answered, which Node 20 has made immutable: every stream is a 500 ("TypeError: immutable"). Here they are a copy.
const fetchOnce = globalThis.fetch;
globalThis.fetch = async (...call) => {
  const answer = await fetchOnce(...call);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
};
