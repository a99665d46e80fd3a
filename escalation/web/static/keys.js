// Single keys for what the page offers: an element with data-key is clicked, or entered where it is a field.
"use strict";

const SWITCH = "docyard-keys";
const keysAreOn = () => localStorage.getItem(SWITCH) !== "off";
const isField = (element) => element.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");

function press(element) {
  if (isField(element)) {
    element.focus();
  } else if (element.type === "radio") {
    element.checked = true;
    element.focus();
    const field = document.querySelector(`[data-picks="${element.id}"]`);
    if (field) field.focus();
  } else {
    element.click();
  }
}

function step(by) {
  const rows = [...document.querySelectorAll("a.row")];
  const place = rows.indexOf(document.activeElement);
  const next = rows[Math.min(rows.length - 1, Math.max(0, place + by))];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  const here = event.target;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && here.form && here.form.id === "judge") {
    event.preventDefault();
    here.form.requestSubmit(here.form.querySelector("[data-key=d]"));
    return;
  }
  if (event.key === "Escape" && isField(here)) {
    here.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isField(here) || !keysAreOn()) return;
  if (event.key === "j" || event.key === "k") {
    step(event.key === "j" ? 1 : -1);
    return;
  }
  const element = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (element) {
    event.preventDefault();
    press(element);
  }
});

// Filling in a field chooses what it belongs to.
document.addEventListener("input", (event) => {
  const choice = event.target.dataset && event.target.dataset.picks;
  if (choice && event.target.value) document.getElementById(choice).checked = true;
});

// A form that came back stands at the address of its page, so that loading that address again sends nothing.
const address = document.body.dataset.address;
if (address) history.replaceState(null, "", address);

// Leaving a page with words that were not sent asks first; so does a button that drops them.
let leaving = false;
document.addEventListener("submit", (event) => {
  const keeps = event.target.querySelector("#comment, #reopen-comment");
  leaving = Boolean(keeps) && !(event.submitter && event.submitter.hasAttribute("data-drops"));
});
window.addEventListener("beforeunload", (event) => {
  const written = [...document.querySelectorAll("#comment, #reopen-comment")].some((field) => field.value.trim());
  if (written && !leaving) event.preventDefault();
});
window.addEventListener("pageshow", () => { leaving = false; });

// A claim that is about to end says so while there is time to keep it.
const notice = document.querySelector("[data-appears-in]");
if (notice) {
  setTimeout(() => {
    notice.textContent = "Your claim ends in less than five minutes. “Keep it longer” keeps it, and what you wrote.";
  }, Math.max(0, Number(notice.dataset.appearsIn)) * 1000);
}

// A page's picture is enlarged by a click; where there is none, the page says why.
const isPicture = (element) => element.matches && element.matches(".page-picture img");
document.addEventListener("click", (event) => {
  if (isPicture(event.target)) document.getElementById("zoom").click();
});
async function explain(picture) {
  let words = "The picture did not arrive. Load this page again.";
  try {
    const answer = await fetch(picture.src);
    if ((answer.headers.get("content-type") || "").startsWith("text/plain")) words = await answer.text();
  } catch { /* the words stay */ }
  const note = document.createElement("p");
  note.className = "empty";
  note.setAttribute("role", "status");
  note.textContent = words;
  picture.replaceWith(note);
}
document.addEventListener("error", (event) => { if (isPicture(event.target)) explain(event.target); }, true);
document.querySelectorAll(".page-picture img").forEach((picture) => {
  if (picture.complete && !picture.naturalWidth) explain(picture);  // before this script ran
});

const problem = document.getElementById("problem");
if (problem) problem.focus();

const button = document.getElementById("keys-switch");
if (button) {
  const show = () => {
    button.textContent = keysAreOn() ? "Single keys are on" : "Single keys are off";
    button.setAttribute("aria-pressed", String(keysAreOn()));
  };
  button.addEventListener("click", () => {
    localStorage.setItem(SWITCH, keysAreOn() ? "off" : "on");
    show();
  });
  show();
}
