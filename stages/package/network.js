"use strict";

/*
 * A neural network's forward pass: from the pixels of one image to the probability of each class.
 *
 * network.py gives the network as JSON: a list of operations, each from tensors to a tensor. A tensor is a flat
 * Float32Array and a shape, such as [1, height, width, channels] with the channels of a pixel side by side; the 1 is
 * for one image. `load` makes the memory of all tensors and, for each operation, a function without arguments that
 * fills the operation's output from its inputs. `run` fills in the image and calls these functions in order.
 *
 * This is LiteRT's arithmetic, in 32-bit floats. Only the order of the additions differs.
 */
globalThis.Network = (() => {
  /** A network from its JSON text. */
  function load(json) {
    const model = JSON.parse(json);
    const tensors = {};
    for (const [number, { shape, data }] of Object.entries(model.tensors)) {
      tensors[number] = { shape, values: data === undefined ? new Float32Array(count(shape)) : floats(data) };
    }
    const steps = [];
    for (const { name, inputs, output, options } of model.operations) {
      steps.push(OPERATIONS[name](inputs.map((number) => tensors[number]), tensors[output], options));
      if (options.activation) steps.push(OPERATIONS[options.activation]([tensors[output]], tensors[output]));
    }
    return { input: tensors[model.input].values, output: tensors[model.output].values, steps };
  }

  /** The probabilities, a new Float32Array (classes), of the image's pixels (height × width × channels), 0 to 255. */
  function run(network, pixels) {
    network.input.set(pixels);
    for (const step of network.steps) step();
    return network.output.slice();
  }

  const count = (shape) => shape.reduce((product, length) => product * length, 1);

  function floats(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  }

  /** For each element of a tensor shaped `large`, the index of the one that stands for it in a tensor shaped `small`,
   *  whose last axes are those of `large` or have length 1. */
  function indices(small, large) {
    let found = [0];
    for (let axis = 0; axis < large.length; axis++) {
      const length = small[small.length - large.length + axis] ?? 1;
      const next = [];
      for (const index of found) {
        for (let i = 0; i < large[axis]; i++) next.push(index * length + (length === 1 ? 0 : i));
      }
      found = next;
    }
    return Int32Array.from(found);
  }

  /** (rows, columns) as (columns, rows). */
  function transposed(values, rows) {
    const columns = values.length / rows;
    const result = new Float32Array(values.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column];
    }
    return result;
  }

  /** Of each element. */
  const unary = (f) => ([{ values }], output) => () => {
    for (let i = 0; i < values.length; i++) output.values[i] = f(values[i]);
  };

  /** Of each pair of elements; the smaller tensor is repeated. */
  const binary = (f) => ([a, b], output) => {
    const [left, right] = [a, b].map((tensor) => indices(tensor.shape, output.shape));
    return () => {
      for (let i = 0; i < left.length; i++) output.values[i] = f(a.values[left[i]], b.values[right[i]]);
    };
  };

  /** Over those axes that have length 1 in the shape `kept`: `f` of what there is and each further element. */
  const reduction = (start, f, average = false) => ([input], output, { kept }) => {
    const target = indices(kept, input.shape);
    const each = average ? output.values.length / target.length : 1;
    return () => {
      output.values.fill(start);
      for (let i = 0; i < target.length; i++) output.values[target[i]] = f(output.values[target[i]], input.values[i]);
      for (let i = 0; i < output.values.length; i++) output.values[i] *= each;
    };
  };

  /** Scores as probabilities: e to the power of each, divided by their sum over the last axis; or their logarithms. */
  const softmax = (logarithm) => ([{ values, shape }], output, { beta = 1 }) => () => {
    const classes = shape[shape.length - 1];
    for (let start = 0; start < values.length; start += classes) {
      const scores = Array.from(values.subarray(start, start + classes), (value) => value * beta);
      const largest = Math.max(...scores); // without it the power could overflow
      const sum = scores.reduce((total, score) => total + Math.exp(score - largest), 0);
      scores.forEach((score, i) => {
        output.values[start + i] = logarithm ? score - largest - Math.log(sum) : Math.exp(score - largest) / sum;
      });
    }
  };

  /** A dense layer; its weights are (outputs, inputs) in the file. */
  function dense([{ values }, weights, bias], output) {
    const outputs = weights.shape[0];
    const columns = transposed(weights.values, outputs);
    const inputs = weights.shape[1];
    const sums = new Float32Array(outputs);
    return () => {
      for (let row = 0; row * inputs < values.length; row++) {
        start(sums, bias);
        for (let i = 0; i < inputs; i++) add(sums, values[row * inputs + i], columns, i * outputs);
        output.values.set(sums, row * outputs);
      }
    };
  }

  /** A convolution; its weights are (filters, height, width, channels) in the file. */
  function convolution([input, weights, bias], output, options) {
    const [filters, , , channels] = weights.shape;
    const columns = transposed(weights.values, filters); // the filters' weights for one value are side by side
    const sums = new Float32Array(filters);
    return windows(input, output, options, {
      before: () => start(sums, bias),
      pixel(from, place) {
        for (let c = 0; c < channels; c++) add(sums, input.values[from + c], columns, (place * channels + c) * filters);
      },
      after: (to) => output.values.set(sums, to),
    });
  }

  /** A convolution of each channel by itself; weights (1, height, width, channels × filters of each). */
  function depthwise([input, weights, bias], output, options) {
    const filters = weights.shape[3];
    const each = filters / input.shape[3];
    const sums = new Float32Array(filters);
    return windows(input, output, options, {
      before: () => start(sums, bias),
      pixel(from, place) {
        for (let f = 0; f < filters; f++) {
          sums[f] += input.values[from + Math.floor(f / each)] * weights.values[place * filters + f];
        }
      },
      after: (to) => output.values.set(sums, to),
    });
  }

  /** Over each window and for each channel: `f` of what there is and each further value. */
  const pool = (first, f, average = false) => ([input], output, options) => {
    const channels = input.shape[3];
    const found = new Float32Array(channels);
    let pixels = 0;
    return windows(input, output, options, {
      before: () => {
        found.fill(first);
        pixels = 0;
      },
      pixel(from) {
        for (let c = 0; c < channels; c++) found[c] = f(found[c], input.values[from + c]);
        pixels++;
      },
      after: (to) => found.forEach((value, c) => (output.values[to + c] = average ? value / pixels : value)),
    });
  };

  /** Visits the windows of an image, one for each pixel of the output: `before` each window, each `pixel` of it inside
   *  the image (where its channels start, and its place in the window), `after` it (where the output's start). */
  function windows(input, output, { size, strides, dilation, before }, visitor) {
    const [, height, width, channels] = input.shape;
    const [, rows, columns, filters] = output.shape;
    return () => {
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          visitor.before();
          for (let i = 0; i < size[0]; i++) {
            const y = row * strides[0] - before[0] + i * dilation[0];
            if (y < 0 || y >= height) continue;
            for (let j = 0; j < size[1]; j++) {
              const x = column * strides[1] - before[1] + j * dilation[1];
              if (x >= 0 && x < width) visitor.pixel((y * width + x) * channels, i * size[1] + j);
            }
          }
          visitor.after((row * columns + column) * filters);
        }
      }
    };
  }

  function start(sums, bias) {
    if (bias) sums.set(bias.values);
    else sums.fill(0);
  }

  /** Adds `value` times the weights from `first` on to the sums: here the time is spent. After a ReLU many are 0. */
  function add(sums, value, weights, first) {
    if (value === 0) return;
    for (let i = 0; i < sums.length; i++) sums[i] += value * weights[first + i];
  }

  const OPERATIONS = {
    CONV_2D: convolution,
    DEPTHWISE_CONV_2D: depthwise,
    FULLY_CONNECTED: dense,
    MAX_POOL_2D: pool(-Infinity, Math.max),
    AVERAGE_POOL_2D: pool(0, (sum, value) => sum + value, true),
    MEAN: reduction(0, (sum, value) => sum + value, true),
    SUM: reduction(0, (sum, value) => sum + value),
    REDUCE_MAX: reduction(-Infinity, Math.max),
    REDUCE_MIN: reduction(Infinity, Math.min),
    ADD: binary((a, b) => a + b),
    SUB: binary((a, b) => a - b),
    MUL: binary((a, b) => a * b),
    DIV: binary((a, b) => a / b),
    MAXIMUM: binary(Math.max),
    MINIMUM: binary(Math.min),
    SQUARED_DIFFERENCE: binary((a, b) => (a - b) ** 2),
    RELU: unary((value) => Math.max(0, value)),
    RELU6: unary((value) => Math.min(6, Math.max(0, value))),
    TANH: unary(Math.tanh),
    LOGISTIC: unary((value) => 1 / (1 + Math.exp(-value))),
    LOG: unary(Math.log),
    EXP: unary(Math.exp),
    SQRT: unary(Math.sqrt),
    RSQRT: unary((value) => 1 / Math.sqrt(value)),
    SQUARE: unary((value) => value * value),
    RESHAPE: ([input], output) => () => output.values.set(input.values),
    SOFTMAX: softmax(false),
    LOG_SOFTMAX: softmax(true),
  };

  return { load, run };
})();
