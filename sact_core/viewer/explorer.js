// What networks did with images, to look into without Python: one viewer of maps, and
// around it what follows the dial, the film and the chosen position.
//
// A document holds scenes (one image each) of sides (one network each). Of every block
// a side has, for each of its prices, the units that every position ran and the halting
// scores that it gave; ponder costs are what the rule makes of them. Texts are strangers':
// they are put on the page as text, never as markup.

class Explorer {
  constructor(host, document_, { told = () => {} } = {}) {
    this.doc = document_
    this.told = told // what a host hears: position, tau, unit
    this.state = { scene: 0, metric: document_.metric ?? "ponder_cost", opacity: document_.opacity ?? 0.55 }
    host.classList.add("explorer")
    host.replaceChildren(this.head(), this.switches(), this.stage(), ...this.sections())
    this.viewer = new Viewer(host.querySelector(".viewer"))
    this.open(0)
  }

  destroy() {
    this.viewer.destroy()
  }

  // --- the page ---

  head() {
    this.title = make("h1")
    this.under = make("p", { className: "under" })
    this.count = make("span", { className: "count" })
    this.before = button("‹ Previous", () => this.open(this.state.scene - 1))
    this.after = button("Next ›", () => this.open(this.state.scene + 1))
    this.browse = make("nav", { ariaLabel: "Images" }, this.before, this.count, this.after)
    return make("header", {}, make("div", {}, this.title, this.under), this.browse)
  }

  switches() {
    this.sides = make("div", { className: "choices", role: "group", ariaLabel: "Network to look into" })
    const metrics = Object.entries(METRICS).map(([metric, name]) =>
      button(name, () => this.show({ metric }), { value: metric })
    )
    this.metrics = make("div", { className: "choices", role: "group", ariaLabel: "What the map shows" }, ...metrics)
    this.opacity = slider("Opacity over the image", 0, 100, () => this.show({ opacity: this.opacity.valueAsNumber / 100 }))
    this.opacity.value = 100 * this.state.opacity
    this.unit = slider("Unit of the film", 1, 1, () => this.seek(this.unit.valueAsNumber - 1))
    return make("div", { className: "switches" }, this.sides, this.metrics, this.opacity.parentElement, this.unit.parentElement)
  }

  stage() {
    const box = make("div")
    box.innerHTML = TEMPLATE // the viewer's own, not data
    this.facts = make("dl", { className: "facts" })
    return make("div", {}, box, this.facts)
  }

  sections() {
    const number = (name) => {
      const input = make("input", { type: "number", min: 0, onchange: () => this.typed() })
      return [input, make("label", {}, `${name} `, input)]
    }
    const [row, rowLabel] = number("Row")
    const [column, columnLabel] = number("Column")
    this.where = { row, column, box: make("p", { className: "where" }, rowLabel, columnLabel) }
    this.why = make("div", { className: "blocks" })
    this.whySaid = make("p")
    this.says = make("table")
    this.costs = make("table")
    this.all = make("table")
    this.allBox = section("All networks", scrolled(this.all))
    this.about = make("dl", { className: "about" })
    this.command = make("code")
    this.commandBox = make("p", {}, "Made by", make("br"), this.command)
    return [
      section("Why did it stop there?", this.whySaid, this.where.box, this.why),
      this.allBox,
      make("div", { className: "columns" }, section("What it says", scrolled(this.says)), section("What it cost", scrolled(this.costs))),
      section("Where this comes from", this.about, this.commandBox),
    ]
  }

  // --- what is shown ---

  get scene() {
    return this.doc.scenes[this.state.scene]
  }

  get side() {
    return this.scene.sides[this.state.side]
  }

  open(index) {
    const scene = this.doc.scenes[index]
    if (!scene) return
    scene.sides.forEach((side) => {
      side.blocks = side.blocks.map((block) => (block instanceof Block ? block : new Block(block)))
      side.frame ??= side.at
    })
    const [height, width] = scene.size
    const position = scene.position ?? [Math.floor(height / 2), Math.floor(width / 2)]
    Object.assign(this.state, { scene: index, side: 0, unit: 0, position })
    this.title.textContent = scene.name
    this.browse.hidden = this.doc.scenes.length < 2
    this.count.textContent = `${index + 1} of ${this.doc.scenes.length}`
    this.before.disabled = index === 0
    this.after.disabled = index === this.doc.scenes.length - 1
    this.sides.replaceChildren(
      ...(scene.sides.length < 2 ? [] : scene.sides.map((side, i) => button(`${i + 1}  ${side.name}`, () => this.show({ side: i, unit: 0 }), { value: i })))
    )
    this.sides.hidden = scene.sides.length < 2
    this.where.row.max = height - 1
    this.where.column.max = width - 1
    this.viewer.zoomTo(1)
    this.show({})
  }

  // Draw everything anew, with some of the state changed.
  show(changes) {
    Object.assign(this.state, changes)
    const { scene, side, state } = this
    const [height, width] = scene.size
    this.under.textContent = `${scene.sides.map((each) => each.name).join(" · ")} · ${width} × ${height} pixels`
    for (const each of this.metrics.children) each.ariaPressed = String(each.value === state.metric)
    for (const each of this.sides.children) each.ariaPressed = String(Number(each.value) === state.side)
    this.opacity.parentElement.hidden = scene.sides.length > 1
    this.unit.parentElement.hidden = !side.halts
    this.unit.max = deciding(side).reduce((sum, block) => sum + block.numUnits, 0)
    if (this.viewer.timer) this.viewer.pause()
    this.viewer.sent = undefined
    this.viewer.update({
      data: this.viewerData(),
      setStateValue: () => this.tell("position"),
      setTriggerValue: (name) => this.tell(name === "unit" ? "unit" : "tau"),
      notice: (name) => this.follow(name),
    })
    this.where.box.hidden = !side.by_position
    this.whySaid.textContent = whySaid(side)
    this.aboutIt()
    this.follow("tau")
  }

  viewerData() {
    const { scene, side, state } = this
    const maps = []
    const spans = scene.sides.map((each) => {
      const at = (block, metric) => (frame) => {
        if (frame !== undefined && each === this.side) each.frame = frame
        return block[metric](each.frame)
      }
      const begin = maps.length
      for (const block of each.blocks) maps.push({ name: block.name, h: block.h, w: block.w, at: at(block, state.metric) })
      return maps.slice(begin).map((_, i) => ({ map: begin + i, sign: 1 }))
    })
    const film = maps.length
    for (const block of side.blocks) {
      const at = (frame) => block.num_units(frame ?? side.frame)
      maps.push({ name: block.name, h: block.h, w: block.w, at })
    }
    const name = METRICS[state.metric]
    const [low, high] = scene.limits[state.metric]
    const alone = scene.sides.length === 1
    const panels = [{ title: "What the network sees", picture: true, note: `${scene.size[1]} × ${scene.size[0]} pixels`, alt: `${scene.name} as the network receives it` }]
    scene.sides.forEach((each, i) => {
      const title = alone ? name : `${i + 1}  ${each.name}`
      panels.push({ title, terms: spans[i], scale: 0, detail: alone, says: alone ? "" : String(i + 1), side: each.halts ? "" : "no halting", alt: `${name} of ${scene.name}` })
    })
    if (alone) panels.push({ title: "Over the image", terms: spans[0], scale: 0, picture: true, opacity: state.opacity, silent: true, alt: `${name} laid over ${scene.name}` })
    if (side.halts) panels.push({ title: "Still thinking", picture: true, film: true, silent: true, terms: [], note: "In colour: this unit works on them. Dark: stopped.", alt: `Positions of ${scene.name} that are active` })
    return {
      size: scene.size,
      image: scene.image,
      maps,
      scales: [{ low, high, unit: "units", table: this.doc.colours }],
      panels,
      mark: side.by_position ? state.position : null,
      clickable: side.by_position,
      hint: "Point at a map to read it.",
      mode: "panels",
      max_height: 420,
      panel_width: 230,
      stages: side.halts ? this.stages(film) : undefined,
      unit: state.unit,
      dial: side.taus.length > 1 ? { taus: side.taus, at: side.frame, share: side.flops.map((parts) => sum(parts) / sum(side.dense)), says: side.taus.map((_, i) => says(side, i)), marks: [] } : undefined,
    }
  }

  // The film: one stage a unit of a block that decides.
  stages(first) {
    this.film = first
    return deciding(this.side).flatMap((block) =>
      Array.from({ length: block.numUnits }, (_, unit) => ({ map: first + this.side.blocks.indexOf(block), unit, label: "", short: `${block.name}, unit ${unit + 1}` }))
    )
  }

  label() {
    const stage = this.viewer.data.stages?.[this.viewer.unit]
    if (!stage) return
    const block = this.side.blocks[stage.map - this.film]
    const share = block.activeShare(this.side.frame, stage.unit)
    stage.label = `${capital(block.name)}, unit ${stage.unit + 1} of ${block.numUnits}: ${percent(share, 0)} of positions active`
  }

  // The viewer has moved on: what goes with it is drawn.
  follow(name) {
    const { viewer, side } = this
    if (!viewer?.data) return
    if (name === "position" && viewer.mark) this.state.position = viewer.mark
    if (name === "unit") this.state.unit = viewer.unit
    this.label()
    this.unit.value = viewer.unit + 1
    this.unit.ariaValueText = viewer.data.stages?.[viewer.unit]?.label ?? ""
    if (name === "tau") this.numbers(side)
    if (name !== "unit") this.whyStopped(side)
    viewer.say(viewer.hover)
  }

  seek(unit) {
    if (this.viewer.timer) this.viewer.pause()
    this.viewer.unit = unit
    this.follow("unit")
    this.viewer.draw()
    this.tell("unit")
  }

  typed() {
    const [height, width] = this.scene.size
    const inside = (input, side) => Math.min(Math.max(Math.floor(input.valueAsNumber) || 0, 0), side - 1)
    this.viewer.choose([inside(this.where.row, height), inside(this.where.column, width)])
  }

  // What a host sets: the position, the nearest of the prices, or the unit of the film.
  take(name, value) {
    if (value === null || value === undefined) return
    const { side, viewer } = this
    if (name === "tau") {
      if (side.taus.length < 2) return
      const off = side.taus.map((tau) => Math.abs(tau - value))
      viewer.turn(off.indexOf(Math.min(...off)))
      return
    }
    if (name === "position") viewer.mark = side.by_position ? value : null
    else viewer.unit = value - 1
    this.follow(name)
    viewer.draw()
  }

  tell(name) {
    const { side, state } = this
    this.told(name, { position: state.position, tau: side.taus[side.frame], unit: this.viewer.unit + 1 }[name])
  }

  // --- numbers ---

  numbers(side) {
    const frame = side.frame
    const flops = side.flops[frame]
    const [best, sure] = side.says[frame][0]
    const facts = [["It says", `${side.classes[best]}, ${percent(sure, 1)} sure`], ["FLOPs", `${si(sum(flops))}, ${percent(sum(flops) / sum(side.dense), 1)} of dense`]]
    if (side.halts) facts.push(["Units a position", side.blocks.reduce((all, block) => all + block.stats(frame).mean, 0).toFixed(2)])
    if (side.taus[frame] !== null) facts.push(["τ, price of a unit", String(Number(side.taus[frame].toPrecision(4)))])
    this.facts.replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))))
    rows(this.says, ["Class", "Probability", ""], side.says[frame].map(([index, share]) => [side.classes[index], percent(share, 2), bar(share)]))
    rows(
      this.costs,
      ["Part", "FLOPs", "Of dense", "", "Units run"],
      [...side.parts, "Network"].map((part, i) => {
        const whole = i === side.parts.length
        const [done, dense] = whole ? [sum(flops), sum(side.dense)] : [flops[i], side.dense[i]]
        const block = side.blocks[i - (side.parts.length - side.blocks.length)]
        const stats = side.halts && block && !whole ? block.stats(frame) : null
        const units = stats ? `${stats.mean.toFixed(2)} (${stats.least} to ${stats.most}) of ${block.numUnits}` : ""
        return [part, done.toLocaleString("en"), percent(done / dense, 1), bar(done / dense), units]
      })
    )
    const { sides } = this.scene
    this.allBox.hidden = sides.length < 2
    rows(
      this.all,
      ["Network", "It says", "Sure", "FLOPs", "Of dense"],
      sides.map((each, i) => {
        const [index, share] = each.says[each.frame][0]
        const spent = sum(each.flops[each.frame])
        return [`${i + 1}  ${each.name}`, each.classes[index], percent(share, 1), spent.toLocaleString("en"), percent(spent / sum(each.dense), 1)]
      })
    )
  }

  whyStopped(side) {
    const [row, column] = side.by_position ? this.state.position : [0, 0]
    this.where.row.value = row
    this.where.column.value = column
    this.why.replaceChildren(
      ...(side.halts ? deciding(side) : []).map((block) => {
        const index = block.index(row, column, this.scene.size)
        const trace = block.trace(side.frame, index)
        const how = trace.units === block.numUnits && trace.units > 1 ? `ran all ${trace.units} units` : `stopped after ${trace.units} of ${block.numUnits} units`
        const said = `${how}, ponder cost ${(trace.units + trace.remainder).toFixed(2)}`
        const scores = trace.scores.map((score, i) => [String(i + 1), score.toFixed(4), sum(trace.scores.slice(0, i + 1)).toFixed(4)])
        const table = rows(make("table"), ["Unit", "Halting score", "Running sum"], scores)
        const details = make("details", {}, make("summary", {}, "Numbers"), table, make("p", {}, `Remainder ${trace.remainder.toFixed(4)}`))
        return make("section", { className: "block" }, make("h3", {}, capital(block.name)), make("p", {}, said), pile(trace, block.numUnits, side.eps, said), details)
      })
    )
  }

  aboutIt() {
    const pairs = this.scene.about.concat(...this.scene.sides.map((side) => side.about))
    this.about.replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]))
    this.command.textContent = this.doc.command
    this.commandBox.hidden = !this.doc.command
  }
}

// Blocks that decide anything, those of more than one unit; all where none has more.
function deciding(side) {
  const found = side.blocks.filter((block) => block.numUnits > 1)
  return found.length ? found : side.blocks
}

const METRICS = { ponder_cost: "Ponder cost", num_units: "Units run" }

function whySaid(side) {
  if (!side.halts) return "This network does not halt: every position runs every unit."
  const rule = "After every unit the position gives a halting score, and the scores (blue) pile up. It stops at the unit where the pile reaches 1 − ε (dashed). What was missing to 1 before that unit is the remainder (orange); ponder cost = units run + remainder."
  return side.by_position ? `Click a position of a map. ${rule}` : `ACT decides once for the whole image. ${rule}`
}

function says(side, frame) {
  const [index, sure] = side.says[frame][0]
  return `${si(sum(side.flops[frame]))}FLOPs · ${side.classes[index]}, ${percent(sure, 0)}`
}
