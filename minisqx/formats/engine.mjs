// The steps of a network on one flat memory, and the way from an image of any size to its input.

// ELU and ReLU; without an activation, values stay as they are.
function activate(memory, at, count, activation) {
  if (activation === "elu") {
    for (let p = at; p < at + count; p++) if (memory[p] < 0) memory[p] = Math.expm1(memory[p]);
  } else if (activation === "relu") {
    for (let p = at; p < at + count; p++) if (memory[p] < 0) memory[p] = 0;
  }
}

// Writes, for each pixel of the output's map, the input's pixel under tap (i, j) of the kernel, or 0 beyond the map.
// from: where the channel of the input begins.
function gather(memory, at, from, step, i, j) {
  const { x, y, stride, padding } = step;
  for (let row = 0; row < y.height; row++) {
    const inRow = row * stride[0] + i - padding[0];
    const isInside = inRow >= 0 && inRow < x.height;
    for (let column = 0; column < y.width; column++) {
      const inColumn = column * stride[1] + j - padding[1];
      const isPixel = isInside && inColumn >= 0 && inColumn < x.width;
      memory[at++] = isPixel ? memory[from + inRow * x.width + inColumn] : 0;
    }
  }
}

// A convolution as a matrix product, its activation, and its batch norm as a scale and a shift. The weight is (depth, channels);
// the depth counts the input's channels and in each the taps of the kernel. Four rows of the input are gathered at `rows`.
function convolve(memory, constants, step, rows) {
  const { x, y, kernel, weight, bias, scale, shift } = step;
  const taps = kernel[0] * kernel[1], depth = x.channels * taps, channels = y.channels;
  const inPixels = x.height * x.width, pixels = y.height * y.width;
  const isPlain = taps === 1 && inPixels === pixels;
  for (let m = 0; m < channels; m++) memory.fill(constants[bias + m], y.at + m * pixels, y.at + (m + 1) * pixels);
  for (let k = 0; k < depth; k += 4) {
    const many = Math.min(4, depth - k);
    const from = isPlain ? x.at + k * inPixels : rows;
    for (let n = 0; n < many && !isPlain; n++) {
      const tap = (k + n) % taps;
      const channel = x.at + Math.floor((k + n) / taps) * inPixels;
      gather(memory, rows + n * pixels, channel, step, Math.floor(tap / kernel[1]), tap % kernel[1]);
    }
    for (let m = 0; m < channels; m++) {
      const out = y.at + m * pixels, w = weight + k * channels + m;
      if (many === 4) {
        const a = constants[w], b = constants[w + channels], c = constants[w + 2 * channels], d = constants[w + 3 * channels];
        const second = from + pixels, third = second + pixels, fourth = third + pixels;
        for (let p = 0; p < pixels; p++) {
          memory[out + p] += a * memory[from + p] + b * memory[second + p] + c * memory[third + p] + d * memory[fourth + p];
        }
      } else {
        for (let n = 0; n < many; n++) {
          const a = constants[w + n * channels], start = from + n * pixels;
          for (let p = 0; p < pixels; p++) memory[out + p] += a * memory[start + p];
        }
      }
    }
  }
  activate(memory, y.at, step.activated * pixels, step.activation);
  if (scale === null) return;
  for (let m = 0; m < channels; m++) {
    const a = constants[scale + m], b = constants[shift + m], out = y.at + m * pixels;
    for (let p = out; p < out + pixels; p++) memory[p] = memory[p] * a + b;
  }
}

// The sum of two tensors, and its activation. Of the other tensor, every other pixel of every other row if its map is larger.
function add(memory, constants, { x, y, other, activation }) {
  const stride = other.height > y.height || other.width > y.width ? 2 : 1;
  let at = 0;
  for (let m = 0; m < y.channels; m++) {
    for (let row = 0; row < y.height; row++) {
      const from = other.at + (m * other.height + row * stride) * other.width;
      for (let column = 0; column < y.width; column++, at++) {
        memory[y.at + at] = memory[x.at + at] + memory[from + column * stride];
      }
    }
  }
  activate(memory, y.at, at, activation);
}

// The maximum of each window; at the lower and right edges a window may reach beyond the map.
function pool(memory, constants, { x, y, kernel, stride }) {
  let out = y.at;
  for (let m = 0; m < y.channels; m++) {
    for (let row = 0; row < y.height; row++) {
      for (let column = 0; column < y.width; column++) {
        const top = row * stride[0], left = column * stride[1];
        const bottom = Math.min(top + kernel[0], x.height), right = Math.min(left + kernel[1], x.width);
        let largest = -Infinity;
        for (let i = top; i < bottom; i++) {
          for (let j = left; j < right; j++) largest = Math.max(largest, memory[x.at + (m * x.height + i) * x.width + j]);
        }
        memory[out++] = largest;
      }
    }
  }
}

const KINDS = { convolution: convolve, sum: add, "max pool": pool };

// The image `source` ({width, height, strip}) at the network's size: the largest centred part of that aspect ratio, resized by a
// bicubic filter that widens as the image shrinks (Keys 1981, a = -1/2), in whole numbers: the same pixels as minisqx, not the
// browser's. strip(top, rows) gives rows of the image as RGBA bytes; only the first three of a pixel are read.
export function fit(source, height, width) {
  const rgb = new Uint8Array(3 * height * width);
  if (source.height === height && source.width === width) {
    const rgba = source.strip(0, height);
    for (let p = 0; p < height * width; p++) for (let c = 0; c < 3; c++) rgb[3 * p + c] = rgba[4 * p + c];
    return rgb;
  }
  const scale = Math.min(source.height / height, source.width / width);
  const rows = filter(source.height, height, scale), columns = filter(source.width, width, scale);
  const sums = new Int32Array(height * source.width * 3);
  const atOnce = Math.max(1, Math.floor(STRIP / source.width));
  for (let top = 0; top < source.height; top += atOnce) {
    const count = Math.min(atOnce, source.height - top);
    const rgba = source.strip(top, count);
    for (let i = 0; i < height; i++) {
      const { first, weights } = rows[i];
      for (let y = Math.max(top, first); y < Math.min(top + count, first + weights.length); y++) {
        const weight = weights[y - first];
        let from = (y - top) * source.width * 4, to = i * source.width * 3;
        for (let x = 0; x < source.width; x++, from += 4) {
          sums[to++] += weight * rgba[from];
          sums[to++] += weight * rgba[from + 1];
          sums[to++] += weight * rgba[from + 2];
        }
      }
    }
  }
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const { first, weights } = columns[j];
      for (let c = 0; c < 3; c++) {
        let total = ONE * ONE / 2;
        for (let k = 0; k < weights.length; k++) total += weights[k] * sums[(i * source.width + first + k) * 3 + c];
        rgb[3 * (i * width + j) + c] = Math.min(Math.max(Math.floor(total / (ONE * ONE)), 0), 255);
      }
    }
  }
  return rgb;
}

const ONE = 1 << 14; // weights are multiples of 1 / ONE, so that every sum is exact
const STRIP = 1 << 18; // pixels of the image that are read at a time

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((2.5 - 0.5 * x) * x - 4) * x + 2 : 0;
}

// For each output along an axis of `size` pixels: the first pixel that it reads, and the weights of that and the following ones.
function filter(size, outputs, scale) {
  const stretch = Math.max(scale, 1), taps = Math.ceil(4 * stretch) + 1, low = (size - outputs * scale) / 2;
  return Array.from({ length: outputs }, (_, i) => {
    const centre = low + (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * stretch + 0.5));
    const raw = Array.from({ length: Math.min(taps, size - first) }, (_, k) => cubic(Math.abs(first + k + 0.5 - centre) / stretch));
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    // The running sum is rounded, not each weight, so that the weights sum to ONE.
    let running = 0, before = 0;
    const weights = raw.map((weight) => {
      running += weight;
      const rounded = Math.floor(running * (ONE / total) + 0.5);
      const step = rounded - before;
      before = rounded;
      return step;
    });
    return { first, weights };
  });
}

class Network {
  constructor(program, constants) {
    const largest = Math.max(...program.steps.map(({ y }) => y.height * y.width));
    Object.assign(this, { name: program.name, classes: program.classes, height: program.height, width: program.width });
    this.program = program;
    this.constants = constants;
    this.memory = new Float32Array(program.memory + 4 * largest);
  }

  // Numbers before the softmax, one for each class. rgb: height rows of width pixels, each red, green and blue from 0 to 255.
  logits(rgb) {
    const { program, constants, memory, height, width } = this, pixels = height * width;
    if (rgb.length !== 3 * pixels) throw new RangeError(`${rgb.length} values: expected 3 x ${height} x ${width}; see network.fit`);
    for (let p = 0; p < pixels; p++) {
      for (let c = 0; c < 3; c++) memory[c * pixels + p] = constants[256 * c + rgb[3 * p + c]];
    }
    for (const step of program.steps) KINDS[step.kind](memory, constants, step, program.memory);
    const { y } = program.steps.at(-1), size = y.height * y.width;
    const features = Array.from({ length: y.channels }, (_, m) => {
      let sum = 0;
      for (let p = 0; p < size; p++) sum += memory[y.at + m * size + p];
      return sum / size;
    });
    if (program.classifier === null) return features;
    const { weight, bias } = program.classifier, count = this.classes.length;
    return this.classes.map((_, j) => features.reduce((sum, x, k) => sum + x * constants[weight + k * count + j], constants[bias + j]));
  }

  // The classes as {label, probability, index}, the most probable first. rgb: as for logits.
  infer(rgb) {
    const logits = this.logits(rgb), largest = logits.reduce((a, b) => Math.max(a, b));
    const powers = logits.map((logit) => Math.exp(logit - largest)), total = powers.reduce((sum, power) => sum + power, 0);
    const found = powers.map((power, index) => ({ label: this.classes[index], probability: power / total, index }));
    return found.sort((a, b) => b.probability - a.probability || a.index - b.index);
  }

  // The network's input of an image of any size: an ImageData, or {width, height, strip}, see `fit`.
  fit(image) {
    const strip = image.strip ?? ((top, rows) => image.data.subarray(4 * top * image.width, 4 * (top + rows) * image.width));
    return fit({ width: image.width, height: image.height, strip }, this.height, this.width);
  }
}

export async function load() {
  const bytes = Uint8Array.from(atob(CONSTANTS), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer), constants = new Float32Array(bytes.length / 4);
  for (let n = 0; n < constants.length; n++) constants[n] = view.getFloat32(4 * n, true);
  return new Network(PROGRAM, constants);
}
