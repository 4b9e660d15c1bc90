// The API reference: one section per operation of /openapi.json, grouped by tag. Never calls the API it describes, never uses innerHTML.
const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
let spec = {};

function make(tag, props, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
const code = (text) => make("code", {}, String(text));
const para = (text, className = "") => text ? make("p", { className }, text) : "";
const at = (pointer) => pointer.slice(2).split("/").reduce((node, key) => node?.[key.replace(/~1/g, "/").replace(/~0/g, "~")], spec);
const resolve = (node) => (node?.$ref ? at(node.$ref) : node) ?? {};

function typeName(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) return several.map(typeName).join(schema.allOf ? " & " : " | ");
  if (schema.type === "array" || schema.items) return `${typeName(schema.items ?? {})}[]`;
  return [schema.type ?? "any"].flat().join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

function limits(schema) {
  const names = { minLength: "min length", maxLength: "max length", minimum: "≥", maximum: "≤", maxItems: "max items", pattern: "pattern", default: "default" };
  const found = Object.keys(names).filter((key) => schema[key] !== undefined).map((key) => `${names[key]} ${JSON.stringify(schema[key])}`);
  return [...(schema.enum ? [`one of ${schema.enum.join(", ")}`] : []), ...found].join("; ");
}

// Types may contain themselves; `seen` ends the walk.
function fields(schema, seen = []) {
  const full = resolve(schema);
  const parts = [full, ...(full.allOf ?? full.oneOf ?? full.anyOf ?? []).map(resolve)];
  const rows = parts.flatMap((part) => Object.entries(part.properties ?? {}).flatMap(([name, property]) => row(name, property, part.required?.includes(name), seen)));
  return rows.length ? make("dl", {}, ...rows) : "";
}

function row(name, schema, required, seen) {
  const full = resolve(schema);
  const inner = full.items ?? (full.oneOf ?? full.anyOf ?? []).find((one) => one.$ref) ?? schema;
  const deeper = inner.$ref && !seen.includes(inner.$ref) ? fields(inner, [...seen, inner.$ref]) : inner.properties ? fields(inner, seen) : "";
  const text = [full.description, limits(full)].filter(Boolean).join(" — ");
  return [
    make("dt", {}, code(name), ` ${typeName(schema)}`, required ? make("strong", {}, " required") : ""),
    make("dd", {}, text, deeper && make("details", {}, make("summary", {}, `Fields of ${typeName(inner)}`), deeper)),
  ];
}

function sample(schema, depth = 0) {
  const full = resolve(schema);
  for (const key of ["example", "default", "const"]) if (full[key] !== undefined) return full[key];
  if (full.examples?.length) return full.examples[0];
  if (full.enum) return full.enum[0];
  const several = full.oneOf ?? full.anyOf ?? full.allOf;
  if (several) return sample(several[0], depth);
  const type = [full.type].flat()[0] ?? (full.properties ? "object" : "string");
  if (type === "object") return depth > 3 ? {} : Object.fromEntries((full.required ?? []).map((name) => [name, sample(full.properties?.[name], depth + 1)]));
  if (type === "array") return full.items && depth < 3 ? [sample(full.items, depth + 1)] : [];
  return { integer: 1, number: 1, boolean: true, null: null }[type] ?? (full.format === "uuid" ? "018f…" : "text");
}

const bodyOf = (operation) => Object.entries(resolve(operation.requestBody).content ?? {})[0];
const shell = (text) => `'${text.replace(/'/g, "'\\''")}'`;

function curl(method, path, operation) {
  const [type, media] = bodyOf(operation) ?? [];
  const open = (operation.security ?? spec.security ?? [{}]).some((one) => Object.keys(one).length === 0);
  const body = type && (type.includes("json") ? shell(JSON.stringify(media.example ?? sample(media.schema), null, 2)) : "@file");
  return [`curl -X ${method.toUpperCase()} ${shell(location.origin + path)}`,
    open ? "" : '-H "Authorization: Bearer $TOKEN"', type ? `-H ${shell(`Content-Type: ${type}`)}` : "", body ? `-d ${body}` : ""].filter(Boolean).join(" \\\n  ");
}

function parameters(operation, shared) {
  const all = [...(shared ?? []), ...(operation.parameters ?? [])].map(resolve);
  if (!all.length) return [];
  const rows = all.flatMap((one) => row(`${one.name} (in ${one.in})`, { ...one.schema, description: one.description }, one.required, []));
  return [make("h4", {}, "Parameters"), make("dl", {}, ...rows)];
}

function requestBody(operation) {
  const [type, media] = bodyOf(operation) ?? [];
  return type ? [make("h4", {}, "Request body"), para(`${type}: ${typeName(media.schema ?? {})}`, "soft"), fields(media.schema ?? {})] : [];
}

function response([status, reply]) {
  const full = resolve(reply);
  const contents = Object.entries(full.content ?? {});
  const [type, media] = contents[0] ?? [];
  const headline = [code(status), ` ${full.description ?? ""}`, type ? make("span", { className: "soft" }, ` ${contents.map(([name]) => name).join(", ")}: ${typeName(media.schema ?? {})}`) : ""];
  const shape = type ? fields(media.schema?.items ?? media.schema ?? {}, [media.schema?.$ref]) : "";
  return shape ? make("details", {}, make("summary", {}, ...headline), shape) : make("p", {}, ...headline);
}

function section({ id, method, path, operation, shared }) {
  return make("section", { id, className: "op" },
    make("h3", {}, make("span", { className: "method" }, method.toUpperCase()), code(path)),
    para([operation.summary, operation.description].filter(Boolean).join("\n")),
    operation.operationId ? make("p", { className: "soft" }, "operationId ", code(operation.operationId)) : "",
    ...parameters(operation, shared), ...requestBody(operation),
    make("h4", {}, "Responses"), ...Object.entries(operation.responses ?? {}).map(response),
    make("h4", {}, "Example"), make("pre", {}, code(curl(method, path, operation))));
}

function operationsByTag() {
  const groups = new Map((spec.tags ?? []).map((tag) => [tag.name, { about: tag.description, all: [] }]));
  for (const [path, item] of Object.entries(spec.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = item[method];
      const tag = operation.tags?.[0] ?? "Other";
      if (!groups.has(tag)) groups.set(tag, { all: [] });
      groups.get(tag).all.push({ id: operation.operationId ?? `${method}${path}`, method, path, operation, shared: item.parameters });
    }
  }
  return [...groups].filter(([, group]) => group.all.length);
}

function entry({ id, method, path, operation }) {
  const link = make("a", { href: `#${encodeURIComponent(id)}` }, make("span", { className: "method" }, method.toUpperCase()), operation.summary || path);
  link.dataset.words = `${method} ${path} ${id} ${operation.summary ?? ""}`.toLowerCase();
  return make("li", {}, link);
}

function filter() {
  const wanted = document.getElementById("filter").value.toLowerCase();
  for (const link of document.querySelectorAll("#toc a")) link.parentNode.hidden = !link.dataset.words.includes(wanted);
}

async function start() {
  const main = document.getElementById("main");
  try {
    const reply = await fetch("/openapi.json");
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    spec = await reply.json();
  } catch (error) {
    return main.replaceChildren(make("h1", {}, "API reference"), make("p", { role: "alert" }, `/openapi.json could not be read: ${error.message}.`));
  }
  const groups = operationsByTag();
  document.title = `${spec.info?.title ?? "API"} reference`;
  main.replaceChildren(make("h1", {}, document.title), para(`Version ${spec.info?.version ?? "?"}`, "soft"), para(spec.info?.description),
    make("p", {}, make("a", { href: "/openapi.json" }, "openapi.json")),
    ...groups.flatMap(([name, group]) => [make("h2", {}, name), para(group.about), ...group.all.map(section)]));
  document.getElementById("toc").replaceChildren(...groups.flatMap(([name, group]) => [make("h2", {}, name), make("ul", {}, ...group.all.map(entry))]));
  document.getElementById("filter").addEventListener("input", filter);
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

start();
