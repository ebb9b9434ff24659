"use strict";

/*
 * What stands beside the picture: the answer in large, the digits found, what the model saw, and the bars.
 *
 * An answer is what the server gives: `digits`, each with `label`, `sure`, `confidence`, `probabilities`, `image`,
 * `box` and `done`; `milliseconds`; and perhaps `text`.
 */
globalThis.Answer = (() => {
  const MANY_CLASSES = 12; // more are not all shown, but the most probable
  const part = (id) => document.getElementById(id);
  const model = JSON.parse(part("package").textContent);
  let before = null; // the answer that was shown last

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function percent(share) {
    if (share < 0.0005) return "< 0.1\u00a0%";
    return share < 0.9995 ? `${(100 * share).toFixed(1)}\u00a0%` : "> 99.9\u00a0%";
  }

  /** The classes from the most to the least probable. */
  function ranked({ probabilities }) {
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    return order.map((index) => ({ label: model.classes[index], share: probabilities[index], index }));
  }

  /** The labels of the fewest classes that are together as probable as an answer must be; at most three. */
  function candidates(digit) {
    let sum = 0;
    const enough = ranked(digit).findIndex(({ share }) => (sum += share) >= model.threshold);
    return ranked(digit).slice(0, enough < 0 ? 3 : Math.min(3, enough + 1)).map(({ label }) => label);
  }

  /** The labels in reading order, with ? for one that is not sure. */
  function text({ digits, text }) {
    const labels = digits.map(({ label, sure }) => (sure ? label : "?"));
    return text ?? labels.join(labels.every((label) => label.length === 1) ? "" : " ");
  }

  /** The answer as a screen reader says it. */
  function words(answer) {
    if (!answer) return "";
    if (!answer.digits.length) return "No digit found";
    if (answer.digits.length > 1) return `${answer.digits.length} digits: ${[...text(answer)].join(" ")}`;
    const [digit] = answer.digits;
    return digit.sure ? `It is a ${digit.label}` : `Not sure: ${candidates(digit).join(" or ")}?`;
  }

  /** Show `answer`, or none, with the details of the digit number `chosen`; `choose` is called with another number. */
  function show(answer, chosen, choose) {
    const digit = answer?.digits[chosen];
    const best = digit ? ranked(digit) : [];
    showText(answer);
    showPicks(answer, chosen, choose);
    showBest(digit, best);
    showBars(best);
    showPreparation(digit, answer);
    before = answer;
  }

  function showText(answer) {
    const found = answer?.digits ?? [];
    const grey = (mark) => element("i", {}, mark);
    let kind = "words";
    let parts = [answer ? "No digit found" : "The answer appears here"];
    if (found.length === 1 && !found[0].sure) {
      const labels = candidates(found[0]);
      kind = labels.join("").length > 3 ? "text" : "unsure";
      parts = labels.flatMap((label, index) => (index ? [element("small", {}, "or"), label] : [label]));
      parts.push(grey("?"));
    } else if (found.length) {
      kind = text(answer).length > 4 ? "text" : "";
      parts = text(answer).split(/(\?)/).map((some) => (some === "?" ? grey(some) : some));
    }
    part("answer").className = `large ${kind}`;
    part("answer").replaceChildren(...parts);
    if (part("spoken").textContent !== words(answer)) part("spoken").textContent = words(answer);
  }

  function showPicks(answer, chosen, choose) {
    const found = answer?.digits ?? [];
    const picks = part("picks");
    picks.hidden = found.length < 2;
    if (answer !== before) {
      const buttons = found.map(({ image, label, sure }, index) => {
        const canvas = Paint.canvas(model.shape[1], model.shape[0]);
        Paint.image(canvas, image);
        return element("button", { type: "button", onclick: () => choose(index) }, canvas, sure ? label : `${label}?`);
      });
      picks.replaceChildren(...buttons);
    }
    [...picks.children].forEach((button, index) => button.setAttribute("aria-pressed", String(index === chosen)));
  }

  function showBest(digit, best) {
    const lines = best.slice(0, 3).map(({ label, share }) => {
      return element("li", {}, element("span", {}, label), element("span", {}, percent(share)));
    });
    if (digit && !digit.sure) lines.unshift(element("li", { className: "unsure" }, "Not sure"));
    part("three").replaceChildren(...lines);
  }

  function showPreparation(digit, answer) {
    const what = digit?.done.join(", ") || "taken as it is";
    const time = answer?.milliseconds;
    Paint.image(part("seen"), digit?.image);
    part("done").textContent = digit ? what[0].toUpperCase() + what.slice(1) : "";
    part("time").textContent = digit ? `${time < 10 ? time.toFixed(1) : Math.round(time)}\u00a0ms` : "";
  }

  function showBars(best) {
    const all = model.classes.map((label, index) => ({ label, index }));
    const many = all.length > MANY_CLASSES;
    const shown = many ? (best.length ? best : all).slice(0, 10) : all;
    const { rows } = part("bars");
    while (rows.length < shown.length) part("bars").append(bar());
    shown.forEach(({ label, index }, at) => {
      const share = best.find((each) => each.index === index)?.share;
      const [name, track, number] = rows[at].cells;
      rows[at].className = best[0]?.index === index ? "first" : "";
      name.textContent = label;
      track.firstChild.firstChild.style.transform = `translateX(${100 * (share ?? 0) - 100}%)`;
      number.textContent = share === undefined ? "" : share < 0.0005 ? "0\u00a0%" : percent(share);
    });
  }

  function bar() {
    const track = element("span", { className: "track" }, element("span", {}));
    return element("tr", {}, element("th", { scope: "row" }), element("td", {}, track), element("td", {}));
  }

  return { show, text, element };
})();
