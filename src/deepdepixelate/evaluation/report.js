for (const chart of document.querySelectorAll(".chart")) {
  const { data, layout } = JSON.parse(chart.dataset.figure);
  layout.dragmode = false; // a swipe scrolls the page
  Plotly.newPlot(chart, data, layout, { displayModeBar: false, responsive: true });
}
for (const wipe of document.querySelectorAll(".wipe")) {
  const faces = [...document.querySelectorAll(".face")];
  const [face, left, right] = wipe.querySelectorAll("select");
  const [under, over] = wipe.querySelectorAll("img");
  const [leftTag, rightTag] = wipe.querySelectorAll(".tag");
  const stage = wipe.querySelector(".stage");
  const slider = wipe.querySelector("input");
  const columns = () => [...faces[face.value].querySelectorAll("[data-key]")];
  const show = () => {
    const chosen = columns();
    for (const [select, picture, tag] of [[left, over, leftTag], [right, under, rightTag]]) {
      const column = chosen[select.value];
      const source = column.querySelector("img");
      picture.src = source.src;
      picture.alt = source.alt;
      tag.textContent = column.querySelector("h4").textContent;
    }
    stage.style.aspectRatio = faces[face.value].dataset.ratio;
  };
  const move = () => {
    stage.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % " + leftTag.textContent);
  };
  faces.forEach((each, index) => face.add(new Option(each.dataset.name, index)));
  columns().forEach((column, index) => {
    for (const select of [left, right]) {
      select.add(new Option(column.querySelector("h4").textContent, index));
    }
  });
  left.value = Math.min(1, columns().length - 1);
  right.value = Math.max(0, columns().length - 2);
  for (const select of [face, left, right]) {
    select.addEventListener("change", () => { show(); move(); });
  }
  slider.addEventListener("input", move);
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons === 0 && event.pointerType === "mouse") return;
    const box = stage.getBoundingClientRect();
    slider.value = Math.round(100 * (event.clientX - box.left) / box.width);
    move();
  });
  show();
  move();
  wipe.hidden = false;
}
