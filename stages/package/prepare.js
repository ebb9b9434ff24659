"use strict";

/*
 * Any picture of a digit as an image like MNIST's: found on its paper, cleaned, scaled, thickened and centred.
 *
 * These are the steps of stages/preprocess/digit.py, which says why, under the same names and with the same numbers: a
 * change there is a change here. Numbers are 64-bit floats as there; only the order of some additions differs.
 */
globalThis.Prepare = (() => {
  const { plane, negated, minus, total, largestOf, range, round } = Planes;
  const { cut, padded, maximumFilter, minimumFilter, leastAlong, partitioned, runs, label } = Planes;
  const LONGEST = 256;
  const [WINDOW, SMALLEST_WINDOW] = [0.25, 13];
  const [CONTRAST, NOISE] = [14, 5];
  const REST = 0.25;
  const [WEAK, WEAK_IN_SHADOW] = [0.2, 0.62];
  const SHARP = 0.04;
  const DARK_GROUND = 64;
  const DARKEST_SHADOW = 0.2;
  const SMALLEST_RULED = 64;
  const [RUN, SLACK] = [0.3, 0.015];
  const [THICKEST, LONE] = [0.05, 0.7];
  const GAP = 0.02;
  const SPECK = 0.04;
  const NEAR = 0.35;
  const [FRAME, HOLLOW] = [0.6, 0.02];
  const [BOX, SIDE, MIDDLE] = [18, 28, 14];
  const FINE = 4;
  const SHADOW = "shadow removed";
  const [THIN, THICK] = [3.0, 4.2];
  const LAST = 1e-9; // more than the last digits, in which numbers differ that should be equal

  /** The digit in a picture of `width` × `height` pixels, four bytes each of which the last does not count: `image`,
   *  Uint8Array (784), light on dark; `box`, left, top, right and bottom in the picture; `done`, what was done. Null if
   *  there is no ink. */
  function picture(rgba, width, height) {
    const { colours, factor } = reduced(rgba, width, height, LONGEST);
    const { ink, done } = inkOf(colours);
    if (!ink) return null;
    const reach = round(Math.max(ink.height, ink.width) * GAP);
    const { pieces, count } = piecesOf(ink, threshold(done), reach);
    const chosen = belonging(ink, pieces, count);
    const digit = plane(ink.height, ink.width, (i) => (chosen.has(pieces[i]) ? ink.values[i] : 0));
    return shaped(digit, factor, width, height, done);
  }

  /** The red, green and blue of a picture as planes whose longer side is at most `longest`, and how many pixels became
   *  one. */
  function reduced(rgba, width, height, longest) {
    const factor = Math.ceil(Math.max(width, height) / longest);
    const [rows, columns] = [Math.ceil(height / factor), Math.ceil(width / factor)];
    const sums = [plane(rows, columns), plane(rows, columns), plane(rows, columns)];
    const [red, green, blue] = sums.map(({ values }) => values);
    const columnOf = Uint32Array.from({ length: width }, (_, x) => Math.floor(x / factor));
    for (let y = 0, from = 0; y < height; y++) {
      const start = Math.floor(y / factor) * columns;
      for (let x = 0; x < width; x++, from += 4) {
        const to = start + columnOf[x];
        red[to] += rgba[from];
        green[to] += rgba[from + 1];
        blue[to] += rgba[from + 2];
      }
    }
    const colours = sums.map(({ values }) => plane(rows, columns, (i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      const pixels = Math.min(factor, height - row * factor) * Math.min(factor, width - column * factor);
      return Math.floor(((values[i] + (pixels >> 1)) * Math.floor(2 ** 24 / pixels)) / 2 ** 24); // Pillow's rounding
    }));
    return { colours, factor };
  }

  /** How much ink is on each pixel, a plane of 0 to 1, or null if there is none; and what was done. */
  function inkOf(colours) {
    const { height, width } = colours[0];
    const ground = colours.map(medianColour);
    const differences = colours.map(({ values }, channel) => values.map((value) => value - ground[channel]));
    const [red, green, blue] = differences;
    const weights = red.map((value, i) => value ** 2 + green[i] ** 2 + blue[i] ** 2);
    const direction = differences.map((values) => values.reduce((sum, value, i) => sum + value * weights[i], 0));
    const length = Math.sqrt(total(direction.map((value) => value ** 2)));
    if (length === 0) return { ink: null };
    const [r, g, b] = direction.map((value) => value / length);
    let signal = plane(height, width, (i) => red[i] * r + green[i] * g + blue[i] * b);
    let dark = total(direction) < 0;
    let shadow = opened(signal);
    let ink = minus(signal, shadow);
    if (!dark && total(ground) / 3 > DARK_GROUND && range(shadow) > darkestOf(ink) / 2) {
      signal = negated(signal);
      dark = true;
      shadow = opened(signal);
      ink = minus(signal, shadow);
    }
    const ruled = linesOf(ink);
    ink = minus(ink, ruled);
    let darkest = darkestOf(ink);
    if (darkest < Math.max(CONTRAST, NOISE * noiseOf(ink), REST * range(shadow))) return { ink: null };
    const done = dark ? ["inverted"] : [];
    if (dark && range(shadow) > darkest / 4) {
      done.push(SHADOW);
      const paper = Math.abs(total(ground.map((value, channel) => value * direction[channel]))) / length;
      const light = shadow.values.map((value) => paper - value);
      const lightest = largestOf(light);
      ink = plane(height, width, (i) => ink.values[i] / Math.min(Math.max(light[i] / lightest, DARKEST_SHADOW), 1));
      darkest = darkestOf(ink);
    }
    if (ruled.values.some((value) => value !== 0)) done.push("lines removed");
    return { ink: plane(height, width, (i) => Math.min(ink.values[i] / darkest, 1)), done };
  }

  /** The median of a channel. */
  function medianColour({ values }) {
    const counts = new Uint32Array(256);
    for (const value of values) counts[value]++;
    let level = 0;
    for (let sum = counts[0]; sum <= values.length >> 1; sum += counts[level]) level++;
    return level;
  }

  /** `signal` without what is lighter than its surroundings and narrower than the window. */
  function opened(signal) {
    const { height, width } = signal;
    const window = Math.max(SMALLEST_WINDOW, round(Math.max(height, width) * WINDOW)) | 1;
    const margin = strokesAtTheEdge(signal) ? window : 0;
    let found = padded(signal, margin, margin, 0);
    for (const operation of [minimumFilter, maximumFilter]) {
      for (const axis of [0, 1]) found = operation(found, window, axis);
    }
    return cut(found, margin, margin, height, width);
  }

  /** The mean of the five hundredth part of the pixels that has most ink. */
  function darkestOf({ values }) {
    const count = Math.max(4, Math.floor(values.length / 500));
    const positive = values.filter((value) => value > 0);
    const first = Math.max(0, positive.length - count);
    return total(partitioned(positive, first).subarray(first)) / count;
  }

  /** The lower quartile of ink: what the paper has. */
  function noiseOf({ values }) {
    const quarter = values.length >> 2;
    return partitioned(values, quarter)[quarter];
  }

  /** Whether strokes reach the edge of the picture: dark there, for a short way, and light right beside that. */
  function strokesAtTheEdge(signal) {
    const { height, width } = signal;
    const darkest = darkestOf(signal);
    const rows = [cut(signal, 0, 0, 1, width), cut(signal, height - 1, 0, 1, width)];
    const columns = [cut(signal, 0, 0, height, 1), cut(signal, 0, width - 1, height, 1)];
    return [...rows, ...columns].some(({ values }) => {
      const reach = Math.max(2, round(values.length * SHARP));
      const light = plane(1, values.length, (i) => (values[i] < darkest / 4 ? 1 : 0));
      const beside = maximumFilter(light, 2 * reach + 1, 1).values;
      const dark = [...values.keys()].filter((i) => values[i] > darkest / 2);
      return dark.length < values.length / 2 && dark.some((i) => beside[i] === 1);
    });
  }

  /** How much of `ink` belongs to lines from one edge to the other, of the same shape. */
  function linesOf(ink) {
    const { height, width } = ink;
    const found = plane(height, width);
    const darkest = darkestOf(ink);
    for (const axis of [0, 1]) {
      const [length, other] = axis === 0 ? [height, width] : [width, height];
      if (length < SMALLEST_RULED) continue;
      const slack = 2 * Math.max(1, round(length * SLACK)) + 1;
      let along = maximumFilter(ink, slack, 1 - axis, 0);
      const whole = leastAlong(along, axis);
      const lines = runs(whole, darkest / 10).filter(([start, end]) => end - start - slack < other * THICKEST);
      if (!lines.length || (lines.length === 1 && largestOf(whole.slice(...lines[0])) > LONE * darkest)) continue;
      for (const operation of [minimumFilter, maximumFilter]) along = operation(along, round(length * RUN) | 1, axis);
      found.values.forEach((value, i) => {
        const at = axis === 0 ? i % width : Math.floor(i / width);
        const inside = lines.some(([start, end]) => start <= at && at < end);
        if (inside) found.values[i] = Math.max(value, Math.min(ink.values[i], along.values[i]));
      });
    }
    return found;
  }

  /** How dark ink must be, as a part of the darkest. */
  function threshold(done) {
    return done.includes(SHADOW) ? WEAK_IN_SHADOW : WEAK;
  }

  /** The pieces of `ink` that is at least `least`: for each pixel 0 for none, else its number; how many. */
  function piecesOf(ink, least, reach) {
    const weak = plane(ink.height, ink.width, (i) => (ink.values[i] >= least - LAST ? 1 : 0));
    let grown = weak;
    for (const axis of [0, 1]) grown = maximumFilter(grown, 2 * reach + 1, axis, 0);
    const { labels, count } = label(grown);
    return { pieces: labels.map((number, i) => number * weak.values[i]), count };
  }

  /** The numbers of the pieces that make the digit, as a set: the largest, and those near it that are no specks or
   *  frames. */
  function belonging(ink, pieces, count) {
    const { height, width } = ink;
    const mass = new Float64Array(count + 1);
    pieces.forEach((number, i) => (mass[number] += ink.values[i]));
    const boxes = boxesOf(pieces, count, width);
    const numbers = [...mass.keys()].slice(1);
    const touching = boxes.map(([left, top, right, bottom]) => {
      return [left === 0, top === 0, right === width, bottom === height].filter(Boolean).length;
    });
    const frame = boxes.map(([left, top, right, bottom], number) => {
      if (!(right - left > FRAME * width && bottom - top > FRAME * height)) return false;
      return innerMass(ink, pieces, number, boxes[number]) < HOLLOW * mass[number];
    });
    const weight = (number) => (frame[number] ? 0 : touching[number] >= 2 ? mass[number] / 4 : mass[number]);
    const main = numbers.reduce((best, number) => (weight(number) > weight(best) ? number : best));
    const [left, top, right, bottom] = boxes[main];
    const reach = NEAR * Math.max(right - left, bottom - top);
    const kept = numbers.filter((number) => {
      const box = boxes[number];
      const apart = Math.max(box[0] - right, left - box[2], box[1] - bottom, top - box[3], 0);
      return mass[number] >= SPECK * mass[main] && apart <= reach && touching[number] < 2 && !frame[number];
    });
    return new Set([main, ...kept]);
  }

  /** Left, top, right and bottom of each piece, by its number. */
  function boxesOf(pieces, count, width) {
    const boxes = Array.from({ length: count + 1 }, () => [Infinity, Infinity, 0, 0]);
    pieces.forEach((number, i) => {
      if (number === 0) return;
      const [box, x, y] = [boxes[number], i % width, Math.floor(i / width)];
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x >= box[2]) box[2] = x + 1;
      if (y >= box[3]) box[3] = y + 1;
    });
    return boxes;
  }

  /** The ink that a piece has in the inner two thirds of its box. */
  function innerMass({ width, values }, pieces, number, [left, top, right, bottom]) {
    const [across, down] = [Math.floor((right - left) / 6), Math.floor((bottom - top) / 6)];
    let sum = 0;
    for (let y = top + down; y < bottom - down; y++) {
      for (let x = left + across; x < right - across; x++) {
        if (pieces[y * width + x] === number) sum += values[y * width + x];
      }
    }
    return sum;
  }

  /** The digit whose ink is `ink`, scaled, thickened and centred; `factor` pixels of a picture are one of `ink`. */
  function shaped(ink, factor, width, height, done) {
    const { box, inside } = cropped(ink);
    let fine = scaled(inside, (BOX * FINE) / Math.max(inside.height, inside.width));
    const stroke = strokeWidth(fine);
    const change = Math.min(Math.max(stroke, THIN * FINE), THICK * FINE) - stroke;
    if (Math.abs(change) >= 1) {
      done.push(change > 0 ? "strokes thickened" : "strokes thinned");
      fine = cropped(widened(fine, change / 2)).inside;
      fine = scaled(fine, (BOX * FINE) / Math.max(fine.height, fine.width));
    }
    const [left, top, right, bottom] = box.map((edge) => edge * factor);
    return { image: centred(fine), box: [left, top, Math.min(right, width), Math.min(bottom, height)], done };
  }

  /** Left, top, right and bottom of the part of `ink` that is not 0, and that part. */
  function cropped(ink) {
    const box = boxesOf(ink.values.map((value) => (value === 0 ? 0 : 1)), 1, ink.width)[1];
    const [left, top, right, bottom] = box;
    return { box, inside: cut(ink, top, left, bottom - top, right - left) };
  }

  /** A plane made larger or smaller, with a triangle filter that averages if it is smaller. */
  function scaled({ height, width, values }, scale) {
    const down = weightsOf(height, Math.max(1, round(height * scale)));
    const across = weightsOf(width, Math.max(1, round(width * scale)));
    const tall = plane(down.length, width, (i) => {
      const [{ first, weights }, column] = [down[Math.floor(i / width)], i % width];
      return weights.reduce((sum, weight, j) => sum + weight * values[(first + j) * width + column], 0);
    });
    return plane(down.length, across.length, (i) => {
      const [{ first, weights }, row] = [across[i % across.length], Math.floor(i / across.length)];
      return weights.reduce((sum, weight, j) => sum + weight * tall.values[row * width + first + j], 0);
    });
  }

  /** For each of `after` pixels, the weights of those of the `before` that make it, from the first that has any. */
  function weightsOf(before, after) {
    const ratio = before / after;
    const reach = Math.max(ratio, 1);
    return Array.from({ length: after }, (_, i) => {
      const centre = (i + 0.5) * ratio - 0.5;
      const first = Math.max(0, Math.ceil(centre - reach));
      const length = Math.min(before - 1, Math.floor(centre + reach)) + 1 - first;
      const weights = Float64Array.from({ length }, (_, j) => Math.max(1 - Math.abs(first + j - centre) / reach, 0));
      const sum = total(weights);
      return { first, weights: weights.map((weight) => weight / sum) };
    });
  }

  /** The mean width of the strokes in pixels: twice the area over the length of the edge, the total variation. */
  function strokeWidth(ink) {
    const { height, width, values } = padded(ink, 1, 1, 0);
    let edge = 0;
    for (let y = 0; y < height - 1; y++) {
      for (let i = y * width; i < (y + 1) * width - 1; i++) {
        edge += Math.sqrt((values[i + 1] - values[i]) ** 2 + (values[i + width] - values[i]) ** 2);
      }
    }
    return (2 * total(values)) / Math.max(edge, 1e-9);
  }

  /** `ink` with strokes wider by `radius` on each side, or narrower if it is negative; with a margin around. */
  function widened(ink, radius) {
    if (radius < 0) return negated(dilated(negated(ink), -radius));
    const reach = Math.ceil(radius);
    return dilated(padded(ink, reach, reach, 0), radius);
  }

  /** Of each pixel and those around it, up to `radius` away, the largest value; outside there is 0. */
  function dilated(ink, radius) {
    const reach = Math.ceil(radius);
    const { height, width } = ink;
    const found = plane(height, width, () => -Infinity);
    for (let y = -reach; y <= reach; y++) {
      const rest = radius ** 2 + 1e-9 - y ** 2;
      if (rest < 0) continue;
      const row = maximumFilter(ink, 2 * Math.floor(Math.sqrt(rest)) + 1, 1, 0); // the disc is made of rows
      const moved = cut(padded(row, reach, 0, 0), reach + y, 0, height, width).values;
      moved.forEach((value, i) => value > found.values[i] && (found.values[i] = value));
    }
    return found;
  }

  /** The image with the centre of mass of `fine` on the middle pixel, as far as all of it stays inside. */
  function centred(fine) {
    const [rows, columns] = [Math.ceil(fine.height / FINE), Math.ceil(fine.width / FINE)];
    const small = plane(rows, columns);
    const [down, across] = [new Float64Array(rows), new Float64Array(columns)];
    fine.values.forEach((value, i) => {
      const [row, column] = [Math.floor(i / fine.width / FINE), Math.floor((i % fine.width) / FINE)];
      small.values[row * columns + column] += value / FINE ** 2;
    });
    small.values.forEach((value, i) => {
      down[Math.floor(i / columns)] += value;
      across[i % columns] += value;
    });
    const [top, left] = [down, across].map((profile) => {
      const mean = total(profile.map((value, i) => value * i)) / total(small.values);
      return Math.min(Math.max(Math.floor(MIDDLE - mean + 0.5 + LAST), 0), SIDE - profile.length);
    });
    const image = new Uint8Array(SIDE ** 2);
    small.values.forEach((value, i) => {
      const at = (top + Math.floor(i / columns)) * SIDE + left + (i % columns);
      image[at] = Math.floor(Math.min(value, 1) * 255 + 0.5);
    });
    return image;
  }

  return { picture };
})();
