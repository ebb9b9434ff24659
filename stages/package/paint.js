"use strict";

/*
 * Canvases: strokes, pictures and what is drawn on them.
 */
globalThis.Paint = (() => {
  const SIDE = 280; // pixels of a drawing, whatever the screen has
  const STROKE = 20; // pixels of that
  const LONGEST = 1024; // pixels of a picture's longer side: more cost time and tell nothing
  const LIGHT = 192; // mean grey level from which on ink is light, as in stages/download/pictures.py
  const BLUE = "#2f6fde";

  function canvas(width, height) {
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  /** Where to draw what is read later: in memory, since graphics cards differ in the pixels that they give. */
  function context(canvas) {
    return canvas.getContext("2d", { willReadFrequently: true });
  }

  function png(canvas) {
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  /** Black strokes, each a list of [x, y] in a drawing's pixels, on white paper; `scale` pixels for one of these. */
  function strokes(context, lines, scale) {
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIDE, SIDE);
    Object.assign(context, { fillStyle: "#000", strokeStyle: "#000", lineWidth: STROKE });
    Object.assign(context, { lineCap: "round", lineJoin: "round" });
    for (const [first, ...others] of lines) {
      context.beginPath();
      if (others.length) context.moveTo(...first);
      else context.arc(...first, STROKE / 2, 0, 2 * Math.PI);
      for (const point of others) context.lineTo(...point);
      if (others.length) context.stroke();
      else context.fill();
    }
  }

  /** The picture in `file` as a canvas, turned as its camera says, without regard to a colour profile, as Python reads
   *  it; `scale` of its pixels are one of the file's. */
  async function decoded(file) {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const size = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
    const picture = canvas(...size);
    context(picture).imageSmoothingQuality = "high";
    context(picture).drawImage(bitmap, 0, 0, ...size);
    bitmap.close();
    layGround(context(picture), ...size);
    return { canvas: picture, scale };
  }

  /** White behind transparent pixels, or black if what is visible is light. */
  function layGround(context, width, height) {
    const { data } = context.getImageData(0, 0, width, height);
    let grey = 0;
    let alpha = 0;
    for (let i = 0; i < data.length; i += 4) {
      grey += (data[i + 3] * (data[i] + data[i + 1] + data[i + 2])) / 3;
      alpha += data[i + 3];
    }
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = grey > LIGHT * alpha ? "#000" : "#fff";
    context.fillRect(0, 0, width, height);
  }

  /** The square in the middle of a video, `share` of its shorter side, as a canvas of `side` pixels. */
  function frame(video, share, side) {
    const length = share * Math.min(video.videoWidth, video.videoHeight);
    const corner = [(video.videoWidth - length) / 2, (video.videoHeight - length) / 2];
    const picture = canvas(side, side);
    context(picture).drawImage(video, ...corner, length, length, 0, 0, side, side);
    return picture;
  }

  /** Frames around digits; `scale` is the context's pixels for one of a box, `line` those for one of the page. */
  function boxes(context, digits, chosen, scale, line) {
    digits.forEach(({ box }, index) => {
      const [left, top, right, bottom] = box.map((edge) => edge * scale);
      const frame = new Path2D();
      frame.rect(left - 4 * line, top - 4 * line, right - left + 8 * line, bottom - top + 8 * line);
      const thick = digits.length > 1 && index === chosen ? 3 : 1.5;
      for (const [strokeStyle, width] of [["#fffc", thick + 2], [BLUE, thick]]) {
        Object.assign(context, { strokeStyle, lineWidth: width * line, lineJoin: "round" });
        context.stroke(frame);
      }
    });
  }

  /** The keyboard's pen: a ring, filled while it is down. */
  function pen(context, { x, y, down }) {
    context.beginPath();
    context.arc(x, y, STROKE / 2 + 2, 0, 2 * Math.PI);
    Object.assign(context, { strokeStyle: BLUE, fillStyle: BLUE, lineWidth: 2 });
    context.stroke();
    if (down) context.fill();
  }

  /** Grey levels, row by row, on a canvas that has as many pixels; no image empties it. */
  function image(canvas, levels) {
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    levels?.forEach((level, i) => pixels.data.set([level, level, level, 255], 4 * i));
    context.putImageData(pixels, 0, 0);
  }

  return { SIDE, STROKE, canvas, context, png, strokes, decoded, frame, boxes, pen, image };
})();
