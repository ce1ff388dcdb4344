// Calls a daemon through the OpenAI SDK and prints what came back as one JSON object.
//   node completions.mjs BASE_URL MODEL
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const base = { model, prompt: "def add(a, b):\n    return", max_tokens: 12 };
const seen = {};

seen.whole = await client.completions.create({ ...base, temperature: 0 });

seen.streamed = "";
const stream = await client.completions.create({
  ...base, temperature: 1, seed: 11, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  seen.streamed += chunk.choices[0]?.text ?? "";
  if (chunk.usage) seen.usage = chunk.usage;
}

seen.choices = (await client.completions.create({ ...base, n: 2, seed: 3 })).choices;
seen.logprobs = (await client.completions.create({ ...base, logprobs: 2 })).choices[0].logprobs;
seen.models = (await client.models.list()).data.map((m) => m.id);

seen.left_after = 0;
const abandoned = await client.completions.create({ ...base, max_tokens: 200, stream: true });
for await (const _ of abandoned) {
  seen.left_after += 1;
  break;
}

// Without encoding_format the SDK asks for base64 and decodes it.
const input = ["def add(a, b):", "class Point:"];
seen.embedded = (await client.embeddings.create({ model, input })).data;
seen.embeddedFloats = (
  await client.embeddings.create({ model, input, encoding_format: "float" })
).data;
seen.model = await client.models.retrieve(model);

const failure = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return {
      status: error.status, param: error.param, type: error.type, class: error.constructor.name,
    };
  }
};
seen.bad_value = await failure(() => client.completions.create({ ...base, temperature: 3 }));
seen.unknown_model = await failure(() => client.models.retrieve("no-such-model"));

console.log(JSON.stringify(seen));
