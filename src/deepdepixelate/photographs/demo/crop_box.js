// A rectangle to drag over a photograph. props.value is [left, top, width, height] in pixels of the
// photograph, props.width and props.height are its size, and props.smallest is the least side.
// Gradio renders the template again whenever a prop changes, so elements are looked up when needed.
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function draw([left, top, width, height]) {
  const box = element.querySelector(".box");
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  box.style.left = percent(left, props.width);
  box.style.top = percent(top, props.height);
  box.style.width = percent(width, props.width);
  box.style.height = percent(height, props.height);
}

function redraw() {
  if (props.image && props.value) draw(props.value);
}

function keep(box) {
  props.value = box.map(Math.round);
  trigger("change");
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

element.addEventListener("pointerdown", (down) => {
  const stage = down.target.closest(".stage");
  if (!stage || down.button !== 0) return;
  down.preventDefault();
  const bounds = stage.getBoundingClientRect();
  const x = (event) => ((event.clientX - bounds.left) / bounds.width) * props.width;
  const y = (event) => ((event.clientY - bounds.top) / bounds.height) * props.height;
  const [left, top, width, height] = props.value;
  const whole = width >= props.width && height >= props.height;
  let dragged = (event) => between(x(down), y(down), x(event), y(event));
  if (down.target.closest(".handle")) {
    dragged = (event) => between(left, top, x(event), y(event));
  } else if (down.target.closest(".box") && !whole) {
    dragged = (event) => inside([left + x(event) - x(down), top + y(event) - y(down), width, height]);
  }
  let box = null;
  const move = (event) => draw((box = dragged(event)));
  const end = () => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
    window.removeEventListener("pointercancel", end);
    if (box) keep(box);
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
});

element.addEventListener("keydown", (event) => {
  const direction = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  }[event.key];
  if (!direction || !event.target.closest(".box")) return;
  event.preventDefault();
  const step = Math.max(1, Math.round(Math.max(props.width, props.height) / 50));
  const [left, top, width, height] = props.value;
  const [x, y] = direction.map((sign) => sign * step);
  keep(
    event.shiftKey
      ? between(left, top, left + Math.max(width + x, 1), top + Math.max(height + y, 1))
      : inside([left + x, top + y, width, height]),
  );
  element.querySelector(".box").focus();
});

watch(["value", "image"], redraw);
redraw();
