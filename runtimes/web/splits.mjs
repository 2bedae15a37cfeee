// What a tokenizer.json does to a text before it merges anything: normalizers and pre-tokenizers, those that models of
// the families Llama, Qwen, Mistral and Gemma have.

import { LoadError } from "./errors.mjs";

// What \s is to the regular expressions of tokenizers: in JavaScript it has U+FEFF besides, and U+0085 is missing.
const SPACE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const OTHER_CASES = { s: "\u017f", k: "\u212a" }; // beside the capital letter

export function unsupported(what) {
  return new LoadError("tokenizer", `tokenizer.json has ${what}, which is not supported in JavaScript`,
    "edgesparse generate and evaluate read it; here, continue tokens with generate.mjs");
}

/** text -> text. `spec` is what the file has as `normalizer`. Throws LoadError. */
export function normalizer(spec) {
  switch (spec?.type) {
    case undefined: return (text) => text;
    case "Sequence": {
      const all = spec.normalizers.map(normalizer);
      return (text) => all.reduce((now, one) => one(now), text);
    }
    case "NFC": case "NFD": case "NFKC": case "NFKD": return (text) => text.normalize(spec.type);
    case "Prepend": return (text) => (text ? spec.prepend + text : text);
    case "Replace": {
      const pattern = patternOf(spec.pattern);
      return (text) => text.replace(pattern, () => spec.content);
    }
    default: throw unsupported(`a normalizer ${spec.type}`);
  }
}

/**
 * (pieces of text, whether the first is the beginning) -> pieces of them, which are merged each by itself.
 * `spec` is what the file has as `pre_tokenizer`. Throws LoadError.
 */
export function preTokenizer(spec) {
  switch (spec?.type) {
    case undefined: return (texts) => texts;
    case "Sequence": {
      const all = spec.pretokenizers.map(preTokenizer);
      return (texts, begins) => all.reduce((now, one) => one(now, begins), texts);
    }
    case "Split": {
      const split = splitter(patternOf(spec.pattern), spec.behavior, spec.invert);
      return (texts) => texts.flatMap(split);
    }
    case "Digits": {
      const split = splitter(spec.individual_digits ? /\p{N}/gu : /\p{N}+/gu, "Isolated", false);
      return (texts) => texts.flatMap(split);
    }
    case "ByteLevel": return byteLevel(spec);
    case "Metaspace": return metaspace(spec);
    default: throw unsupported(`a pre-tokenizer ${spec.type}`);
  }
}

/** Bytes as GPT-2's vocabularies write them, a character for each: themselves where they can be seen. */
export const ALPHABET = (() => {
  const seen = (byte) => (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte !== 0xAD);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(seen(byte) ? byte : next++));
})();

function byteLevel({ add_prefix_space: prefix, use_regex: regex = true }) {
  const split = regex ? splitter(translated(GPT2), "Isolated", false) : (text) => [text];
  const encoder = new TextEncoder();
  return (texts) => texts
    .map((text) => (prefix && !text.startsWith(" ") ? ` ${text}` : text))
    .flatMap(split)
    .map((text) => Array.from(encoder.encode(text), (byte) => ALPHABET[byte]).join(""));
}

function metaspace({ replacement, prepend_scheme: scheme = "always", split = true }) {
  const divide = split ? splitter(patternOf({ String: replacement }), "MergedWithNext", false) : (text) => [text];
  return (texts, begins) => texts.flatMap((given, i) => {
    const text = given.replaceAll(" ", replacement);
    const wanted = scheme === "always" || (scheme === "first" && begins && i === 0);
    return divide(wanted && !text.startsWith(replacement) ? replacement + text : text);
  });
}

/** How texts are cut where `pattern` matches. */
function splitter(pattern, behavior, invert) {
  return (text) => {
    const parts = []; // [text, whether it is a match]
    let end = 0;
    for (const match of text.matchAll(pattern)) {
      if (match[0] === "") continue;
      if (match.index > end) parts.push([text.slice(end, match.index), invert]);
      parts.push([match[0], !invert]);
      end = match.index + match[0].length;
    }
    if (end < text.length) parts.push([text.slice(end), invert]);
    return joined(parts, behavior);
  };
}

function joined(parts, behavior) {
  switch (behavior) {
    case "Isolated": return parts.map(([text]) => text);
    case "Removed": return parts.filter(([, matches]) => !matches).map(([text]) => text);
    case "Contiguous": return gathered(parts, ([, left], [, right]) => left === right);
    case "MergedWithPrevious": return gathered(parts, ([, left], [, right]) => right && !left);
    case "MergedWithNext": return gathered(parts, ([, left], [, right]) => left && !right);
    default: throw unsupported(`a split with the behavior ${behavior}`);
  }
}

/** Neighbours are one text where `together(left, right)`. */
function gathered(parts, together) {
  const texts = [];
  parts.forEach((part, i) => {
    if (i > 0 && together(parts[i - 1], part)) texts[texts.length - 1] += part[0];
    else texts.push(part[0]);
  });
  return texts;
}

function patternOf({ String: text, Regex: regex }) {
  if (regex !== undefined) return translated(regex);
  return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/-]/g, (c) => `\\x${c.charCodeAt(0).toString(16)}`), "gu");
}

/** A regular expression of Oniguruma as one of JavaScript, where they mean the same. Throws LoadError. */
export function translated(regex) {
  const fail = (what) => {
    throw unsupported(`the regular expression ${regex} with ${what}`);
  };
  const ignoring = []; // of the groups that are open: whether they ignore case
  let out = "", inClass = false;
  for (let i = 0; i < regex.length; i++) {
    const c = regex[i], next = regex[i + 1] ?? "";
    if (c === "\\") {
      i++;
      if (next === "s") out += inClass ? SPACE : `[${SPACE}]`;
      else if (next === "S" && !inClass) out += `[^${SPACE}]`;
      else if (next === "d") out += "\\p{Nd}";
      else if (/[pPrntfv]/.test(next)) out += c + next;
      else if (/[^A-Za-z0-9]/.test(next)) out += /[\\^$.*+?()[\]{}|/-]/.test(next) ? c + next : next;
      else fail(`\\${next}`);
    } else if (inClass) {
      if (c === "[" || (c === "&" && next === "&")) fail("a class in a class");
      inClass = c !== "]";
      out += c;
    } else if (c === "[") {
      inClass = true;
      out += c;
    } else if (c === "(") {
      const flags = /^\(\?([a-z]+):/.exec(regex.slice(i));
      if (flags && flags[1] !== "i") fail(`the flags ${flags[1]}`);
      ignoring.push(Boolean(flags) || (ignoring.at(-1) ?? false));
      out += flags ? "(?:" : c;
      if (flags) i += flags[0].length - 1;
    } else if (c === ")") {
      ignoring.pop();
      out += c;
    } else if (c === "^" || c === "$") {
      fail(c); // of lines there, of texts here
    } else if (c === "+" && /[?*+]/.test(regex[i - 1] ?? "") && regex[i - 2] !== "\\") {
      fail("a possessive quantifier");
    } else if (ignoring.at(-1) && /[A-Za-z]/.test(c)) {
      const low = c.toLowerCase();
      out += `[${low}${low.toUpperCase()}${OTHER_CASES[low] ?? ""}]`;
    } else {
      out += c;
    }
  }
  try {
    return new RegExp(out, "gu");
  } catch (cause) {
    return fail(`what JavaScript does not have: ${cause.message}`);
  }
}
