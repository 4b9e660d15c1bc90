// Sets a new password with the token of a reset link (/reset#token=…).
// The server's word on the policy is final; the marks here only help while typing. Never keeps token or password.
const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname); // a used link must not stay in the browser's history

const RULES = {
  length: (text) => [...text].length >= 12,
  upper: (text) => /\p{Lu}/u.test(text),
  lower: (text) => /\p{Ll}/u.test(text),
  digit: (text) => /\p{Nd}/u.test(text),
  special: (text) => /[^\p{L}\p{N}\s]/u.test(text),
};

const failing = (text) => Object.keys(RULES).filter((rule) => !RULES[rule](text));

function showPolicy() {
  const missing = failing($("password").value);
  for (const item of $("policy").children) item.classList.toggle("met", !missing.includes(item.dataset.rule));
}

function complain(text, field) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
  for (const id of ["password", "again"]) $(id).setAttribute("aria-invalid", String(id === field));
  if (field) $(field).focus();
}

function finish(title, lead) {
  $("title").textContent = document.title = title;
  $("lead").textContent = lead;
  $("form").remove();
  $("title").focus();
}

const NEW_LINK = "Ask for a new link where you sign in, or in the chat: “I forgot my password”.";

function explain(problem) {
  const details = (problem.errors ?? []).map((error) => error.detail ?? error.message ?? error).filter((text) => typeof text === "string");
  if (details.length) return complain(details.join(" "), "password");
  complain([problem.detail ?? problem.title ?? "The password was not saved. Please try again.", problem.status < 500 ? NEW_LINK : ""].join(" "));
}

async function save(event) {
  event.preventDefault();
  const password = $("password").value;
  const missing = failing(password).map((rule) => document.querySelector(`[data-rule="${rule}"]`).textContent);
  if (missing.length) return complain(`Still missing: ${missing.join(", ")}.`, "password");
  if (password !== $("again").value) return complain("The two passwords are not the same.", "again");
  complain("");
  $("save").disabled = true;
  try {
    const response = await fetch("/auth/password-reset", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token, new_password: password }),
    });
    if (response.ok) return finish("Your password is changed", "You can close this page and sign in with the new password.");
    explain(await response.json().catch(() => ({ status: response.status })));
  } catch {
    complain("The server cannot be reached. Check your connection and try again.");
  } finally {
    if ($("save")) $("save").disabled = false;
  }
}

$("password").addEventListener("input", showPolicy);
$("form").addEventListener("submit", save);
$("show").addEventListener("change", () => {
  for (const id of ["password", "again"]) $(id).type = $("show").checked ? "text" : "password";
});
if (!token) finish("This link is not complete", NEW_LINK);
