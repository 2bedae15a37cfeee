// Strokes -> the 8 x 8 image that the network was trained on.
//
// UCI's optical digits are bitmaps of 32 x 32 whose height a digit fills, in which blocks of 4 x 4 pixels are
// counted: 0 to 16. Ours are drawn with lines as thick as theirs mostly are. Source: Alpaydin and Kaynak 1998,
// "Cascading Classifiers", and the description of the data set.

const SIZE = 32,
  CELL = 4;
const THICKNESS = 5.2; // of lines, in pixels of 32
const WIDEST = 26; // test images leave the first and last column empty
const SMALLEST = 0.12; // of the drawing area: a dot does not become a blot that fills everything

/** `strokes`: lists of points [x, y] in any unit with `extent` as the size of the area. -> Float32Array(64), 0 to 1. */
export function toImage(strokes, extent) {
  const image = new Float32Array((SIZE / CELL) ** 2);
  const points = strokes.flat();
  if (points.length === 0) return image;
  const lines = normalised(strokes, points, extent).flatMap(segments);
  for (let y = 0; y < SIZE; y++) {
    for (let x = 0; x < SIZE; x++) {
      if (lines.some((line) => squaredDistance(x + 0.5, y + 0.5, line) <= (THICKNESS / 2) ** 2)) {
        image[Math.floor(y / CELL) * (SIZE / CELL) + Math.floor(x / CELL)] += 1 / CELL ** 2;
      }
    }
  }
  return image;
}

/** The strokes in pixels of 32: as high as the bitmap, in its middle. */
function normalised(strokes, points, extent) {
  const xs = points.map(([x]) => x),
    ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const least = SMALLEST * extent;
  const scale = Math.min(
    (SIZE - THICKNESS) / Math.max(bottom - top, least),
    (WIDEST - THICKNESS) / Math.max(right - left, least),
  );
  const middle = [(left + right) / 2, (top + bottom) / 2];
  return strokes.map((stroke) => stroke.map((point) => point.map((v, i) => (v - middle[i]) * scale + SIZE / 2)));
}

function segments(stroke) {
  if (stroke.length === 1) return [[...stroke[0], ...stroke[0]]];
  return stroke.slice(1).map((point, i) => [...stroke[i], ...point]);
}

function squaredDistance(x, y, [ax, ay, bx, by]) {
  const dx = bx - ax,
    dy = by - ay,
    length = dx * dx + dy * dy;
  const along = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2;
}
