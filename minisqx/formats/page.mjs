const MOST_CLASSES = 10; // that are listed
const EVERY = 150; // milliseconds between two frames of the camera
const element = (id) => document.getElementById(id);

const network = await load();
network.infer(new Uint8Array(3 * network.height * network.width)); // so that the first image doesn't wait for the compiler
// For the browser's console: the network, and the last image as its pixels and logits.
const state = { network, last: null };
globalThis.minisqx = state;

// Rows of a decoded image as RGBA bytes, on white where it is transparent.
function rowsOf(bitmap) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const strip = (top, rows) => {
    canvas.width = bitmap.width;
    canvas.height = rows;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, bitmap.width, rows);
    context.drawImage(bitmap, 0, top, bitmap.width, rows, 0, 0, bitmap.width, rows);
    return context.getImageData(0, 0, bitmap.width, rows).data;
  };
  return { width: bitmap.width, height: bitmap.height, strip };
}

function classify(bitmap) {
  const pixels = network.fit(rowsOf(bitmap));
  bitmap.close();
  const start = performance.now();
  const found = network.infer(pixels);
  const milliseconds = performance.now() - start;
  state.last = { pixels, logits: network.logits(pixels), milliseconds };
  draw(pixels);
  list(found.slice(0, MOST_CLASSES));
  element("time").textContent = `${milliseconds.toFixed(1)} ms on this device`;
  element("result").hidden = false;
  element("status").textContent = "";
}

function draw(pixels) {
  const canvas = element("seen"), image = new ImageData(network.width, network.height);
  for (let p = 0; p < network.width * network.height; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = pixels[3 * p + c];
    image.data[4 * p + 3] = 255;
  }
  canvas.width = network.width;
  canvas.height = network.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function list(found) {
  const rows = found.map(({ label, probability }) => {
    const row = document.createElement("li");
    const [name, share, track, bar] = ["name", "share", "track", "bar"].map((kind) => {
      const part = document.createElement("span");
      part.className = kind;
      return part;
    });
    name.textContent = label;
    name.dir = "auto";
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    track.ariaHidden = "true";
    bar.style.width = `${100 * probability}%`;
    track.append(bar);
    row.append(name, share, track);
    return row;
  });
  element("classes").replaceChildren(...rows);
  // Said by a screen reader when it changes; in front of the camera only when the class does.
  const { label, probability } = found[0];
  const text = camera === null ? `${label}, ${(100 * probability).toFixed(0)} percent` : label;
  if (element("spoken").textContent !== text) element("spoken").textContent = text;
}

async function open(file) {
  stopCamera();
  try {
    // Pixels as they are stored, as minisqx reads them: without the browser's conversion of colours.
    classify(await createImageBitmap(file, { colorSpaceConversion: "none" }));
  } catch {
    fail(`${file.name || "This"} is not an image that this browser can read.`);
  }
}

function fail(text) {
  element("result").hidden = true;
  element("status").textContent = text;
}

let camera = null;

async function startCamera() {
  const video = document.createElement("video");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.muted = true;
    video.playsInline = true;
    await video.play();
  } catch {
    fail("There is no camera, or this page may not use it.");
    return;
  }
  camera = video;
  showCamera();
  while (camera === video) {
    const bitmap = await createImageBitmap(video);
    if (camera === video) classify(bitmap);
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

function stopCamera() {
  if (camera === null) return;
  for (const track of camera.srcObject.getTracks()) track.stop();
  camera = null;
  showCamera();
}

function showCamera() {
  element("camera").textContent = camera === null ? "Use the camera" : "Stop the camera";
  element("camera").setAttribute("aria-pressed", String(camera !== null));
}

element("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) open(file);
  event.target.value = ""; // so that the same file can be chosen again
});
element("camera").addEventListener("click", () => (camera === null ? startCamera() : stopCamera()));
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length > 0) open(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length > 0) open(event.clipboardData.files[0]);
});
document.documentElement.dataset.ready = "true";
