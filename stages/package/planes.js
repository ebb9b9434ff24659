"use strict";

/*
 * Planes, and what NumPy and SciPy do with them: the ground on which prepare.js stands.
 *
 * A plane is { height, width, values }: a number for each pixel, row by row, as a Float64Array.
 */
globalThis.Planes = (() => {
  /** A plane whose pixel number i is `value(i)`. */
  function plane(height, width, value) {
    const values = new Float64Array(height * width);
    if (value) for (let i = 0; i < values.length; i++) values[i] = value(i);
    return { height, width, values };
  }

  function negated({ height, width, values }) {
    return { height, width, values: values.map((value) => -value) };
  }

  function minus({ height, width, values }, other) {
    return { height, width, values: values.map((value, i) => value - other.values[i]) };
  }

  const total = (values) => values.reduce((sum, value) => sum + value, 0);
  const largestOf = (values) => values.reduce((most, value) => (value > most ? value : most));
  const range = ({ values }) => largestOf(values) - values.reduce((least, value) => (value < least ? value : least));

  /** The nearest integer, of two the even one. */
  function round(value) {
    const below = Math.floor(value);
    return value - below === 0.5 ? below + (below % 2) : Math.round(value);
  }

  /** The part of a plane from a row and a column on. */
  function cut({ width, values }, top, left, rows, columns) {
    const made = plane(rows, columns);
    for (let y = 0; y < rows; y++) {
      const start = (top + y) * width + left;
      made.values.set(values.subarray(start, start + columns), y * columns);
    }
    return made;
  }

  /** A plane with more rows above and below and more columns beside it: they hold `value` or, without one, repeat the
   *  edge. */
  function padded({ height, width, values }, rows, columns, value) {
    const made = plane(height + 2 * rows, width + 2 * columns);
    for (let y = 0; y < made.height; y++) {
      const from = Math.min(Math.max(y - rows, 0), height - 1);
      const row = made.values.subarray(y * made.width, (y + 1) * made.width);
      const source = values.subarray(from * width, (from + 1) * width);
      if (value !== undefined && from !== y - rows) {
        row.fill(value);
      } else {
        row.fill(value ?? source[0], 0, columns);
        row.set(source, columns);
        row.fill(value ?? source[width - 1], columns + width);
      }
    }
    return made;
  }

  /** Of each pixel and its neighbours along an axis, `window` in all, the largest; outside is `value`, or the edge goes
   *  on. */
  function maximumFilter(ink, window, axis, value) {
    const reach = (window - 1) / 2;
    const wide = padded(ink, axis === 0 ? reach : 0, axis === 1 ? reach : 0, value);
    const step = axis === 0 ? wide.width : 1;
    let seen = 1; // pixels from each on whose largest is known: two such stretches give one twice as long
    for (; 2 * seen <= window; seen *= 2) takeLarger(wide.values, seen * step);
    takeLarger(wide.values, (window - seen) * step);
    return cut(wide, 0, 0, ink.height, ink.width);
  }

  function takeLarger(values, distance) {
    const end = values.length - distance;
    for (let i = 0; i < end; i++) {
      const other = values[i + distance];
      if (other > values[i]) values[i] = other;
    }
  }

  function minimumFilter(ink, window, axis) {
    return negated(maximumFilter(negated(ink), window, axis));
  }

  /** The smallest value of each column (axis 0) or row (axis 1). */
  function leastAlong({ height, width, values }, axis) {
    const least = new Float64Array(axis === 0 ? width : height).fill(Infinity);
    values.forEach((value, i) => {
      const at = axis === 0 ? i % width : Math.floor(i / width);
      if (value < least[at]) least[at] = value;
    });
    return least;
  }

  /** The values so ordered that none before the place `k` is larger than the one there, and none after it smaller. */
  function partitioned(values, k) {
    const sorted = values.slice();
    for (let low = 0, high = sorted.length - 1; low < high; ) {
      const pivot = sorted[(low + high) >> 1];
      let [i, j] = [low, high];
      while (i <= j) {
        while (sorted[i] < pivot) i++;
        while (sorted[j] > pivot) j--;
        if (i <= j) {
          const value = sorted[i];
          sorted[i++] = sorted[j];
          sorted[j--] = value;
        }
      }
      if (k <= j) high = j;
      else if (k >= i) low = i;
      else break;
    }
    return sorted;
  }

  /** Start and end of each run of values that are greater than `least`. */
  function runs(values, least) {
    const found = [];
    values.forEach((value, i) => {
      if (value > least && !(values[i - 1] > least)) found.push([i, i]);
      if (value > least) found[found.length - 1][1] = i + 1;
    });
    return found;
  }

  /** A number for each pixel that is not 0, the same for pixels that touch, be it at a corner; how many numbers. */
  function label({ height, width, values }) {
    const labels = new Int32Array(values.length);
    let count = 0;
    for (let start = 0; start < values.length; start++) {
      if (values[start] === 0 || labels[start]) continue;
      labels[start] = ++count;
      for (const waiting = [start]; waiting.length; ) {
        const i = waiting.pop();
        const [row, column] = [Math.floor(i / width), i % width];
        for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, height - 1); y++) {
          for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, width - 1); x++) {
            const next = y * width + x;
            if (values[next] === 0 || labels[next]) continue;
            labels[next] = count;
            waiting.push(next);
          }
        }
      }
    }
    return { labels, count };
  }

  return {
    plane,
    negated,
    minus,
    total,
    largestOf,
    range,
    round,
    cut,
    padded,
    maximumFilter,
    minimumFilter,
    leastAlong,
    partitioned,
    runs,
    label,
  };
})();
