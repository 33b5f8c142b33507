// Faces to click on a photograph, and a box to draw. props.value is what is chosen: a face's index,
// "whole", a box as [left, top, width, height] in pixels of the photograph, or null. props.faces are
// boxes too, props.width and props.height are the photograph's size, props.smallest is a box's least
// side. Gradio renders the template again whenever a prop changes.
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const drawn = () => element.querySelector(".box");

function choose(value) {
  props.value = value;
  trigger("select", { value });
}

function draw([left, top, width, height]) {
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign(drawn().style, {
    left: percent(left, props.width), top: percent(top, props.height),
    width: percent(width, props.width), height: percent(height, props.height),
  });
}

function inside([left, top, width, height]) {
  return [clamp(left, 0, props.width - width), clamp(top, 0, props.height - height), width, height];
}

// The box between a fixed corner and one that follows the pointer, in any direction.
function between(x, y, toX, toY) {
  const side = (from, to, whole) => {
    const length = clamp(Math.abs(to - from), props.smallest, whole);
    return [clamp(to < from ? from - length : from, 0, whole - length), length];
  };
  const [left, width] = side(x, clamp(toX, 0, props.width), props.width);
  const [top, height] = side(y, clamp(toY, 0, props.height), props.height);
  return [left, top, width, height];
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".face")) {
    choose(Number(button.dataset.face));
  } else if (button.matches(".whole")) {
    choose("whole");
  } else if (drawn()) {
    props.value = null;
  } else {
    const [x, y] = [props.width / 4, props.height / 4];
    props.value = between(x, y, 3 * x, 3 * y).map(Math.round);
    setTimeout(() => drawn().focus());
  }
});

element.addEventListener("pointerdown", (down) => {
  const stage = down.target.closest(".stage");
  if (!stage || down.button !== 0 || down.target.closest(".face")) return;
  if (!drawn() && down.pointerType !== "mouse") return; // a finger scrolls the page
  down.preventDefault();
  const bounds = stage.getBoundingClientRect();
  const x = (event) => ((event.clientX - bounds.left) / bounds.width) * props.width;
  const y = (event) => ((event.clientY - bounds.top) / bounds.height) * props.height;
  let dragged = (event) => between(x(down), y(down), x(event), y(event));
  if (down.target.closest(".box")) {
    const [left, top, width, height] = props.value;
    dragged = down.target.closest(".handle")
      ? (event) => between(left, top, x(event), y(event))
      : (event) => inside([left + x(event) - x(down), top + y(event) - y(down), width, height]);
  }
  let box = null;
  const move = (event) => {
    const way = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY);
    if (!box && way < 4) return; // a click
    box = dragged(event);
    if (drawn()) draw(box);
    else props.value = box;
  };
  const end = (event) => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
    window.removeEventListener("pointercancel", end);
    if (box && event.type === "pointerup") choose(box.map(Math.round));
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
});

element.addEventListener("keydown", (event) => {
  if (!event.target.closest(".box")) return;
  const direction = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  }[event.key];
  const [left, top, width, height] = props.value;
  if (event.key === "Enter" || event.key === " ") {
    choose(props.value);
  } else if (event.key === "Escape") {
    props.value = null;
    element.querySelector(".draw").focus();
  } else if (direction) {
    const step = Math.max(1, Math.round(Math.max(props.width, props.height) / 50));
    const [x, y] = direction.map((sign) => sign * step);
    const box = event.shiftKey
      ? between(left, top, left + Math.max(width + x, 1), top + Math.max(height + y, 1))
      : inside([left + x, top + y, width, height]);
    props.value = box.map(Math.round);
  } else {
    return;
  }
  event.preventDefault();
});
