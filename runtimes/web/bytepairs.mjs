// Byte pair encoding: neighbours are merged while two of them are one token. And the tokenizer.bin of llama2.c, which
// is merged by the scores of its tokens; what is in it: bytepairs.py.

import { LoadError } from "./errors.mjs";

const FIRST_BYTE = 3, LAST_SPECIAL = 2;
const LONGEST_PIECE = 65536;
const AGAIN = "copy the bundle again";

/**
 * `tokens` with all pairs merged for which `pair(left, right)` gives {rank, token}: the lowest rank first, of equal ones
 * the leftmost. In n log n steps.
 */
export function merged(tokens, pair) {
  const heap = new Heap(), found = tokens.slice(), count = found.length;
  const before = Int32Array.from(found, (_, i) => i - 1), behind = Int32Array.from(found, (_, i) => i + 1);
  const alive = new Uint8Array(count).fill(1);
  const offer = (left) => {
    const right = left < 0 ? count : behind[left];
    if (right >= count) return;
    const one = pair(found[left], found[right]);
    if (one) heap.push({ rank: one.rank, token: one.token, left, first: found[left], second: found[right] });
  };
  for (let left = 0; left < count; left++) offer(left);
  for (let best = heap.pop(); best; best = heap.pop()) {
    const { left, token, first, second } = best, right = behind[left];
    // one of the two may have been merged since
    if (!alive[left] || right >= count || found[left] !== first || found[right] !== second) continue;
    found[left] = token;
    alive[right] = 0;
    behind[left] = behind[right];
    if (behind[right] < count) before[behind[right]] = left;
    offer(before[left]);
    offer(left);
  }
  return found.filter((_, i) => alive[i]);
}

/** Of pairs: pop() gives the lowest rank, of equal ones the leftmost; undefined when there are none. */
class Heap {
  #all = [];

  push(one) {
    const all = this.#all;
    let i = all.length;
    for (let up = (i - 1) >> 1; i > 0 && earlier(one, all[up]); i = up, up = (i - 1) >> 1) all[i] = all[up];
    all[i] = one;
  }

  pop() {
    const all = this.#all, top = all[0], last = all.pop();
    if (all.length === 0) return top;
    let i = 0;
    for (let down = 1; down < all.length; i = down, down = 2 * i + 1) {
      if (down + 1 < all.length && earlier(all[down + 1], all[down])) down++;
      if (!earlier(all[down], last)) break;
      all[i] = all[down];
    }
    all[i] = last;
    return top;
  }
}

function earlier(a, b) {
  return a.rank < b.rank || (a.rank === b.rank && a.left < b.left);
}

/** The tokenizer in the bytes of a tokenizer.bin: {count, piece, encode, dropsSpace}. Throws LoadError. */
export function llama2c(data) {
  const pieces = [], scores = [], ids = new Map(); // pieces with a character for each byte
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const fail = (why) => {
    throw new LoadError("damaged", `tokenizer.bin is damaged: ${why}`, AGAIN);
  };
  for (let at = 4; at < data.length;) {
    if (at + 8 > data.length) fail("it is cut short");
    const score = view.getFloat32(at, true), length = view.getInt32(at + 4, true);
    at += 8;
    if (!(length >= 0 && length <= LONGEST_PIECE && at + length <= data.length) || Number.isNaN(score)) {
      fail(`token ${pieces.length} has ${length} bytes`);
    }
    const piece = String.fromCharCode(...data.subarray(at, at + length));
    if (!ids.has(piece)) ids.set(piece, pieces.length);
    pieces.push(piece);
    scores.push(score);
    at += length;
  }
  const byteOf = (token) => /^<0x([0-9A-Fa-f]{2})>$/.exec(pieces[token])?.[1];
  for (let token = FIRST_BYTE; token < FIRST_BYTE + 256; token++) {
    if (pieces[token] === undefined || byteOf(token) === undefined) fail("tokens 3 to 258 are not the single bytes");
  }
  const pair = (left, right) => {
    const token = ids.get(pieces[left] + pieces[right]);
    return token === undefined ? undefined : { rank: -scores[token], token };
  };
  return {
    count: pieces.length,
    dropsSpace: true,
    piece(token) {
      if (token <= LAST_SPECIAL) return new Uint8Array(0);
      const byte = byteOf(token);
      return byte ? Uint8Array.of(parseInt(byte, 16)) : Uint8Array.from(pieces[token], (c) => c.charCodeAt(0));
    },
    encode(bytes) {
      if (bytes.length === 0) return [];
      return merged(characters(bytes).flatMap((text) => {
        const token = ids.get(text);
        return token === undefined ? Array.from(text, (c) => c.charCodeAt(0) + FIRST_BYTE) : [token];
      }), pair);
    },
  };
}

/** A space and `bytes`, split as run.c does: a character goes on while bytes of UTF-8 that continue one follow, up to
 * four. With a character for each byte. */
function characters(bytes) {
  const found = [" "];
  for (const byte of bytes) {
    const last = found.length - 1;
    if ((byte & 0xC0) === 0x80 && found[last].length < 4) found[last] += String.fromCharCode(byte);
    else found.push(String.fromCharCode(byte));
  }
  return found;
}
