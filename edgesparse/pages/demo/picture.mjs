// Images -> the input of a network.

const MEAN = [0.485, 0.456, 0.406],
  DEVIATION = [0.229, 0.224, 0.225]; // of ImageNet, red green blue

export const SCALES = {
  imagenet: ["ImageNet mean and deviation", (v, c) => (v / 255 - MEAN[c]) / DEVIATION[c]],
  unit: ["0 to 1", (v) => v / 255],
  signed: ["−1 to 1", (v) => v / 127.5 - 1],
  raw: ["0 to 255", (v) => v],
};
export const FITS = { crop: "crop to the middle", stretch: "stretch", pad: "pad with black" };
const GREY = [0.299, 0.587, 0.114];

/** {height, width, channels, last: whether channels are the last axis}, or null where `port` is no image. */
export function imageShape({ shape, dtype }) {
  if (shape.length !== 4 || shape[0] !== 1 || !["f32", "u8"].includes(dtype)) return null;
  const [, a, b, c] = shape;
  const colours = (n) => n === 1 || n === 3;
  if (colours(a) && b > 3 && c > 3) return { channels: a, height: b, width: c, last: false };
  if (colours(c) && a > 3 && b > 3) return { channels: c, height: a, width: b, last: true };
  return null;
}

/** Draw `source` (an image, a video, a canvas) as the network sees it onto `canvas`. */
export function fitted(canvas, source, { height, width }, fit) {
  canvas.width = width;
  canvas.height = height;
  const w = source.videoWidth || source.naturalWidth || source.width,
    t = source.videoHeight || source.naturalHeight || source.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  const scale = fit === "pad" ? Math.min(width / w, height / t) : Math.max(width / w, height / t);
  const [across, down] = fit === "stretch" ? [width, height] : [w * scale, t * scale];
  context.drawImage(source, (width - across) / 2, (height - down) / 2, across, down);
}

/** The pixels of `canvas` as values of the input: a Float32Array, or a Uint8Array of 0 to 255. */
export function toInput(canvas, port, scale, order) {
  const { channels, height, width, last } = imageShape(port);
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const whole = port.dtype === "u8",
    count = height * width;
  const value = whole ? SCALES.raw[1] : SCALES[scale][1];
  const out = new (whole ? Uint8Array : Float32Array)(channels * count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < channels; c++) {
      const from = order === "bgr" && channels === 3 ? 2 - c : c;
      const grey =
        channels === 1
          ? GREY[0] * data[4 * i] + GREY[1] * data[4 * i + 1] + GREY[2] * data[4 * i + 2]
          : data[4 * i + from];
      out[last ? i * channels + c : c * count + i] = value(grey, from);
    }
  }
  return out;
}
