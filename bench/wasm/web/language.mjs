// What bench/llm_web.py asks of a bundle of a language model, in node.js and in pages.

/** Loads it as load() does, and continues `prompt` `rounds` times by `maxTokens` tokens. Times in ms. */
export async function timed({ bundle, relaxed, prompt, maxTokens, rounds }) {
  const { load } = await import(`${bundle}/index.mjs`);
  const begin = performance.now();
  const model = await load(`${bundle}/`, { threads: 1, relaxed, strict: true, cache: false });
  const found = { load_ms: performance.now() - begin, backend: model.backend, prompt_ms: [], tokens_s: [], whole_ms: [] };
  for (let round = 0; round <= rounds; round++) { // the first is for the compiler
    const before = performance.now();
    for await (const piece of model.generate(prompt, { maxTokens, stops: [] })) found.last = piece;
    const { promptMs, tokensPerSecond, ...stats } = model.stats;
    if (round === 0) continue;
    found.whole_ms.push(performance.now() - before);
    found.prompt_ms.push(promptMs);
    found.tokens_s.push(tokensPerSecond);
    Object.assign(found, { decoded: stats.decoded, prompt_tokens: stats.promptTokens, bytes_per_token: stats.bytesPerToken });
  }
  found.weights_bytes = model.manifest.weights_bytes;
  found.arena_bytes = model.manifest.arena_bytes;
  await model.close();
  return found;
}
