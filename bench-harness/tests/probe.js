// Measures a page in the browser, and returns what is wrong with it.
(() => {
  const wrong = [];
  const say = (what, element) =>
    wrong.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const channels = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const body = getComputedStyle(document.body);
  const [paper, ink] = [body.backgroundColor, body.color];
  if (contrast(paper, ink) < 7) wrong.push(`ink ${ink} on paper ${paper}`);
  const excess = document.documentElement.scrollWidth - innerWidth;
  if (excess > 0) wrong.push(`the page is ${excess} pixels wider than the window`);

  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    if (frame.width < 300 || frame.height < 150) say("small", svg);
    if (frame.left < 0 || frame.right > innerWidth + 0.5) say("outside", svg);
    const lines = [...svg.querySelectorAll("polyline")];
    if (lines.length === 0) say("empty", svg);
    for (const line of lines) {
      const box = line.getBoundingClientRect();
      const dots = svg.querySelectorAll("circle").length;
      if (box.width < 1 && dots === 0) say("no line", line);
      if (box.left < frame.left - 2 || box.right > frame.right + 2) say("beside", line);
      if (box.top < frame.top - 2 || box.bottom > frame.bottom + 2) say("above", line);
      if (line.getAttribute("points").includes("NaN")) say("no number", line);
      if (contrast(paper, getComputedStyle(line).stroke) < 2.5) say("pale", line);
    }
    const scale = frame.width / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll("text")) {
      if (!text.textContent) continue;
      const box = text.getBoundingClientRect();
      if (parseFloat(getComputedStyle(text).fontSize) * scale < 9) say("small", text);
      if (box.left < frame.left - 1 || box.right > frame.right + 1) say("cut", text);
    }
    // Names of values on one axis do not run into each other.
    for (const anchor of ["middle", "end"]) {
      const boxes = [...svg.querySelectorAll(`text[text-anchor=${anchor}]`)]
        .filter((text) => text.textContent)
        .map((text) => [text, text.getBoundingClientRect()]);
      for (const [index, [text, one]] of boxes.entries()) {
        for (const [, other] of boxes.slice(index + 1)) {
          const apart =
            one.right <= other.left || other.right <= one.left ||
            one.bottom <= other.top + 2 || other.bottom <= one.top + 2;
          if (!apart) say("overlaps", text);
        }
      }
    }
  }
  for (const bar of document.querySelectorAll(".bar")) {
    const box = bar.getBoundingClientRect();
    if (box.width < 200 || box.height < 10) say("small", bar);
  }
  return { paper, ink, wrong, plots: document.querySelectorAll("svg").length };
})();
