// Small parts of a page. Texts go in as text.

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name === "role") element.setAttribute(name, value)
    else element[name] = value
  }
  element.append(...children)
  return element
}

function button(text, onclick, properties = {}) {
  return make("button", { type: "button", textContent: text, onclick, ...properties })
}

function section(title, ...children) {
  return make("section", {}, make("h2", {}, title), ...children)
}

// A wide table moves sideways by itself, with the keyboard too.
function scrolled(table) {
  return make("div", { className: "scrolled", tabIndex: 0, role: "group", ariaLabel: "Table" }, table)
}

function slider(name, min, max, oninput) {
  const input = make("input", { type: "range", min, max, oninput })
  make("label", { className: "slider" }, make("span", {}, name), input)
  return input
}

function rows(table, names, cells) {
  const head = make("tr", {}, ...names.map((name) => (name ? make("th", { scope: "col" }, name) : make("td"))))
  const body = cells.map((row) => make("tr", {}, ...row.map((cell, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, cell))))
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body))
  return table
}

function bar(share) {
  const inner = make("span")
  inner.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`
  return make("span", { className: "share", ariaHidden: "true" }, inner)
}

// Halting scores of one position, each standing on those before it.
function pile({ units, scores, remainder }, numUnits, eps, said) {
  const [width, height, floor] = [40 * numUnits, 150, 130]
  const y = (value) => floor - (value / 1.25) * floor
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "pile" })
  drawing.ariaLabel = said
  if (units < numUnits) drawing.append(svg("rect", { class: "idle", x: 40 * units, y: 0, width: 40 * (numUnits - units), height: floor }))
  let below = 0
  scores.forEach((score, i) => {
    drawing.append(svg("rect", { class: "score", x: 40 * i + 8, y: y(below + score), width: 24, height: y(below) - y(below + score) }))
    below += score
  })
  drawing.append(svg("rect", { class: "remainder", x: 40 * (units - 1) + 15, y: y(1), width: 10, height: y(1 - remainder) - y(1) }))
  drawing.append(svg("line", { class: "enough", x1: 0, x2: width, y1: y(1 - eps), y2: y(1 - eps) }))
  drawing.append(svg("line", { class: "floor", x1: 0, x2: width, y1: floor, y2: floor }))
  const step = Math.ceil(numUnits / 12)
  for (let i = 0; i < numUnits; i += step) {
    const text = svg("text", { x: 40 * i + 20, y: height - 4, class: i === units - 1 ? "last" : "" })
    text.textContent = i + 1
    drawing.append(text)
  }
  return drawing
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  return element
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}

function percent(share, digits) {
  return `${(100 * share).toFixed(digits)} %`
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1)
}

function si(value) {
  for (const [factor, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value < factor) continue
    const scaled = value / factor
    return `${scaled.toFixed(scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2)} ${letter}`
  }
  return value.toFixed(0)
}
