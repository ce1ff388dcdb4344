// Talks to a daemon through the OpenAI SDK and prints what came back as one JSON object.
//   node chat.mjs BASE_URL MODEL
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const seen = {};

const messages = [{ role: "user", content: "def add(a, b):" }];
const talk = { model, messages, max_completion_tokens: 12, temperature: 0 };
seen.chat = await client.chat.completions.create({ ...talk, logprobs: true, top_logprobs: 2 });
seen.chatStreamed = { content: "", roles: [], reasons: [] };
const said = await client.chat.completions.create({
  ...talk, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of said) {
  const choice = chunk.choices[0];
  seen.chatStreamed.content += choice?.delta.content ?? "";
  if (choice?.delta.role) seen.chatStreamed.roles.push(choice.delta.role);
  if (choice?.finish_reason) seen.chatStreamed.reasons.push(choice.finish_reason);
  if (chunk.usage) seen.chatStreamed.usage = chunk.usage;
}

console.log(JSON.stringify(seen));
