// Aligned maps over one image: hover, click, zoom and pan together, film, swipe.
//
// A host hands over an image, the blocks' maps at their own size, and panels that
// say what to draw. Everything is drawn here, so that pointing, zooming and playing
// never ask the server. `position` goes back as [row, column] of the network's
// input; `unit` goes back when the film pauses; `tau` and `target`, a share of dense
// FLOPs, when a slider is let go. While it is dragged nothing is asked: the maps of
// every tau are here. `notice(name)` is told of every step on the way.

let numViewers = 0

class Viewer {
  constructor(host) {
    this.host = host
    this.zoom = 1
    this.centre = [0.5, 0.5] // of the image: down, across
    this.pointers = new Map()
    this.split = 0.5
    this.unit = 0
    this.timer = null
    const find = (name) => host.querySelector(name)
    this.readout = find(".readout")
    this.grid = find(".panels")
    this.play = find(".play")
    this.swipe = find(".swipe")
    find(".in").onclick = () => this.zoomTo(this.zoom * 1.5)
    find(".out").onclick = () => this.zoomTo(this.zoom / 1.5)
    find(".home").onclick = () => this.zoomTo(1)
    this.play.onclick = () => (this.timer ? this.pause() : this.start())
    find(".swipe input").oninput = (event) => {
      this.split = event.target.value / 1000
      this.draw()
    }
    this.dials = host.querySelectorAll(".dial")
    this.tau = find(".tau")
    this.budget = find(".budget")
    this.marks = find(".marks")
    this.tau.oninput = () => this.turn(this.nearestTau(Number(this.tau.value)))
    this.tau.onchange = () => this.send("tau")
    this.tau.onkeydown = (event) => this.stepTau(event)
    this.budget.oninput = () => this.turn(this.nearestShare(Number(this.budget.value) / 100), true)
    this.budget.onchange = () => this.send("target")
    const number = ++numViewers // labels find their own slider where several viewers are
    for (const input of [this.tau, this.budget]) {
      find(`label[for=${input.id}]`).htmlFor = `${input.id}-${number}`
      input.id += `-${number}`
    }
    this.resize = new ResizeObserver(() => this.draw())
    this.resize.observe(host)
  }

  destroy() {
    clearInterval(this.timer)
    this.resize.disconnect()
  }

  update({ data, setStateValue, setTriggerValue, notice }) {
    if (!data) return
    this.notice = notice ?? (() => {})
    this.setStateValue = setStateValue
    this.setTriggerValue = setTriggerValue
    this.data = data
    if (!this.timer) this.unit = data.unit ?? 0
    this.mark = data.mark ?? null
    this.maps = data.maps.map((map, i) => {
      if (map.at) return { ...map, values: map.at() } // a host that has them in another form
      return map.frames ? this.unpack(map, this.maps?.[i]) : { ...map, values: decode(map.data) }
    })
    this.tables = data.scales.map((scale) => bytes(scale.table))
    this.play.hidden = !data.stages
    this.swipe.hidden = data.mode !== "swipe"
    if (data.mode === "swipe") {
      this.swipe.querySelector(".left").textContent = data.panels[0].title
      this.swipe.querySelector(".right").textContent = data.panels[1].title
    }
    this.build()
    if (data.image !== this.imageUrl) {
      this.imageUrl = data.image
      this.image = new Image()
      this.image.onload = () => { this.cache = null; this.draw() }
      this.image.src = data.image
    }
    this.cache = null
    this.setDial(data.dial)
    this.say(this.hover)
    this.draw()
  }

  // Maps at every tau: 16 bits a value. What came before is kept.
  unpack(map, before) {
    const same = before?.frames === map.frames
    const all = same ? before.all : new Uint16Array(bytes(map.frames).buffer)
    return { ...map, all, values: same ? before.values : new Float32Array(map.h * map.w) }
  }

  setDial(dial) {
    const before = this.dial
    this.dial = dial
    for (const box of this.dials) box.hidden = !dial
    this.host.classList.toggle("dialled", !!dial) // on a phone the map comes before the image
    if (!dial) return
    const low = Math.log(dial.taus[0])
    const high = Math.log(dial.taus.at(-1))
    this.place = (tau) => (1000 * (Math.log(tau) - low)) / (high - low || 1)
    this.budget.min = Math.floor(100 * Math.min(...dial.share))
    this.budget.max = Math.ceil(100 * Math.max(...dial.share))
    if (JSON.stringify(before?.marks) !== JSON.stringify(dial.marks)) this.drawMarks()
    // What the user did since the server was last told is not taken back.
    const waits = this.sent !== undefined && Math.abs(dial.taus[dial.at] - this.sent) > 1e-12
    if (!waits) this.sent = undefined
    const kept = waits ? dial.taus.indexOf(this.sent) : -1
    this.turn(kept >= 0 ? kept : dial.at)
  }

  drawMarks() {
    const shown = this.dial.marks.map(({ tau, name }) => {
      const button = document.createElement("button")
      button.type = "button"
      button.textContent = short(tau)
      button.title = button.ariaLabel = name
      button.style.left = `${this.place(tau) / 10}%`
      button.onclick = () => {
        this.turn(this.nearestTau(this.place(tau)))
        this.send("tau")
      }
      return button
    })
    this.marks.replaceChildren(...shown)
    this.marks.style.display = shown.length ? "" : "none"
  }

  nearestTau(place) {
    const off = this.dial.taus.map((tau) => Math.abs(this.place(tau) - place))
    return off.indexOf(Math.min(...off))
  }

  nearestShare(share) {
    const off = this.dial.share.map((each) => Math.abs(each - share))
    return off.indexOf(Math.min(...off))
  }

  stepTau(event) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -1e3, End: 1e3 }[event.key]
    if (!step) return
    event.preventDefault()
    this.turn(Math.min(Math.max(this.turned + step, 0), this.dial.taus.length - 1))
    clearTimeout(this.turning)
    this.turning = setTimeout(() => this.send("tau"), 300)
  }

  // Show the maps of one tau.
  turn(frame, byBudget = false) {
    this.turned = frame
    for (const map of this.maps) {
      if (map.at) {
        map.values = map.at(frame)
        continue
      }
      const size = map.h * map.w
      for (let i = 0, from = frame * size; i < size; i++) map.values[i] = map.all[from + i] * map.step
    }
    const { taus, share, says } = this.dial
    this.tau.value = this.place(taus[frame])
    this.tau.ariaValueText = `τ = ${taus[frame].toPrecision(3)}`
    if (!byBudget) this.budget.value = 100 * share[frame]
    const bold = (where, text, rest) => {
      const strong = document.createElement("b")
      strong.textContent = text
      this.host.querySelector(where).replaceChildren(strong, rest)
    }
    bold(".is", `τ = ${Number(taus[frame].toPrecision(3))}`, ` · ${says[frame]}`)
    bold(".spends", `${(100 * share[frame]).toFixed(1)} %`, byBudget ? ` of dense, nearest to ${Number(this.budget.value)} %` : " of dense, this image")
    this.cache = null
    this.notice("tau")
    this.say(this.hover)
    this.draw()
  }

  send(name) {
    clearTimeout(this.turning)
    this.sent = name === "tau" ? this.dial.taus[this.turned] : undefined
    this.setTriggerValue(name, name === "tau" ? this.sent : Number(this.budget.value) / 100)
  }

  // One figure a panel; kept between updates, so that nothing jumps.
  build() {
    const wanted = this.data.mode === "swipe" ? 1 : this.data.panels.length
    while (this.grid.children.length > wanted) this.grid.lastChild.remove()
    while (this.grid.children.length < wanted) this.grid.append(this.figure(this.grid.children.length))
    this.grid.style.setProperty("--panel", `${this.data.panel_width}px`)
    const [height, width] = this.data.size
    for (let i = 0; i < wanted; i++) {
      const figure = this.grid.children[i]
      const panel = this.data.panels[i]
      const swipe = this.data.mode === "swipe"
      const parts = (swipe ? this.data.title : panel.title).split(/(?<=_)/)
      // A long name of a network may be broken after each underscore.
      const broken = parts.flatMap((part) => [part, document.createElement("wbr")])
      figure.querySelector(".title").replaceChildren(...broken)
      figure.querySelector("small").textContent = panel.side ?? ""
      const canvas = figure.querySelector("canvas.view")
      canvas.setAttribute("aria-label", panel.alt ?? panel.title)
      canvas.style.aspectRatio = `${width} / ${height}`
      figure.querySelector(".stage").style.maxWidth = `calc(${this.data.max_height}px * ${width / height})`
      const scale = this.data.scales[panel.scale]
      const bar = figure.querySelector(".scale")
      const note = figure.querySelector(".note")
      bar.hidden = !scale
      bar.style.display = scale ? "" : "none"
      note.style.display = scale ? "none" : ""
      note.textContent = panel.note ?? ""
      if (scale) {
        bar.querySelector(".low").textContent = short(scale.low)
        bar.querySelector(".high").textContent = `${short(scale.high)} ${scale.unit}`
        const strip = bar.querySelector("canvas")
        strip.width = 256
        strip.height = 1
        const pixels = new ImageData(256, 1)
        const table = this.tables[panel.scale]
        for (let k = 0; k < 256; k++) pixels.data.set([table[3 * k], table[3 * k + 1], table[3 * k + 2], 255], 4 * k)
        strip.getContext("2d").putImageData(pixels, 0, 0)
      }
    }
  }

  figure(index) {
    const figure = document.createElement("figure")
    figure.innerHTML = `<figcaption><span class="title"></span><small></small></figcaption>
      <div class="stage"><canvas class="view" tabindex="0" role="img"></canvas></div>
      <div class="scale"><span class="low"></span><canvas aria-hidden="true"></canvas><span class="high"></span></div>
      <div class="note"></div>`
    const canvas = figure.querySelector("canvas.view")
    canvas.onpointerdown = (event) => this.down(event, canvas)
    canvas.onpointermove = (event) => this.move(event, canvas)
    canvas.onpointerup = canvas.onpointercancel = (event) => this.up(event, canvas)
    canvas.onpointerleave = () => { if (!this.pointers.size) { this.hover = null; this.say(null); this.draw() } }
    canvas.ondblclick = () => this.zoomTo(1)
    canvas.onkeydown = (event) => this.key(event)
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return // a plain wheel scrolls the page
      event.preventDefault()
      this.zoomTo(this.zoom * Math.exp(-event.deltaY / 200), this.at(event, canvas))
    }, { passive: false })
    return figure
  }

  // Share of the image (down, across) under a pointer.
  at(event, canvas) {
    const box = canvas.getBoundingClientRect()
    const down = (event.clientY - box.top) / box.height
    const across = (event.clientX - box.left) / box.width
    return [(down - 0.5) / this.zoom + this.centre[0], (across - 0.5) / this.zoom + this.centre[1]]
  }

  pixel([down, across]) {
    const [height, width] = this.data.size
    const row = Math.floor(down * height)
    const column = Math.floor(across * width)
    return row >= 0 && column >= 0 && row < height && column < width ? [row, column] : null
  }

  zoomTo(zoom, about) {
    const before = this.zoom
    this.zoom = Math.min(Math.max(zoom, 1), 32)
    if (about) this.centre = this.centre.map((c, i) => about[i] + (c - about[i]) * (before / this.zoom))
    else if (this.mark && before === 1 && this.zoom > 1) {
      this.centre = [(this.mark[0] + 0.5) / this.data.size[0], (this.mark[1] + 0.5) / this.data.size[1]]
    }
    this.keepInside()
    this.draw()
  }

  keepInside() {
    const half = 0.5 / this.zoom
    this.centre = this.centre.map((c) => Math.min(Math.max(c, half), 1 - half))
  }

  down(event, canvas) {
    canvas.setPointerCapture(event.pointerId)
    this.pointers.set(event.pointerId, event)
    this.pressed = { x: event.clientX, y: event.clientY, centre: [...this.centre], moved: false, gap: this.gap(), zoom: this.zoom }
  }

  move(event, canvas) {
    if (this.pointers.has(event.pointerId)) {
      this.pointers.set(event.pointerId, event)
      const box = canvas.getBoundingClientRect()
      const dx = event.clientX - this.pressed.x
      const dy = event.clientY - this.pressed.y
      if (Math.hypot(dx, dy) > 4) this.pressed.moved = true
      if (this.pointers.size === 2) {
        this.zoomTo(this.pressed.zoom * (this.gap() / (this.pressed.gap || this.gap())))
        return
      }
      if (this.pressed.moved && this.zoom > 1) {
        this.centre = [this.pressed.centre[0] - dy / box.height / this.zoom, this.pressed.centre[1] - dx / box.width / this.zoom]
        this.keepInside()
      }
    }
    this.hover = this.pixel(this.at(event, canvas))
    this.say(this.hover)
    this.draw()
  }

  up(event, canvas) {
    const click = this.pointers.size === 1 && this.pressed && !this.pressed.moved && event.type === "pointerup"
    this.pointers.delete(event.pointerId)
    if (this.pointers.size) this.pressed = { ...this.pressed, moved: true, gap: 0 }
    if (click && this.data.clickable) this.choose(this.pixel(this.at(event, canvas)))
  }

  gap() {
    const [a, b] = [...this.pointers.values()]
    return b ? Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) : 0
  }

  key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
    if (event.key === "+") this.zoomTo(this.zoom * 1.5)
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5)
    else if (event.key === "0" || event.key === "Escape") this.zoomTo(1)
    else if (step && this.data.clickable) {
      const [height, width] = this.data.size
      const stride = [height / this.finest().h, width / this.finest().w]
      const from = this.mark ?? [Math.floor(height / 2), Math.floor(width / 2)]
      const to = from.map((value, i) => Math.round(value + step[i] * stride[i]))
      this.choose([Math.min(Math.max(to[0], 0), height - 1), Math.min(Math.max(to[1], 0), width - 1)], 250)
    } else return
    event.preventDefault()
  }

  choose(position, wait = 0) {
    if (!position) return
    this.mark = position
    this.notice("position")
    this.say(position)
    this.draw()
    clearTimeout(this.later)
    this.later = setTimeout(() => this.setStateValue("position", position), wait)
  }

  finest() {
    return this.maps.reduce((best, map) => (map.h * map.w > best.h * best.w ? map : best), this.maps[0] ?? { h: this.data.size[0], w: this.data.size[1] })
  }

  // The film: one stage a unit of a block.
  start() {
    const stages = this.data.stages
    if (this.unit >= stages.length - 1) this.unit = -1
    this.timer = setInterval(() => {
      this.unit++
      this.notice("unit")
      this.say(this.hover)
      this.draw()
      if (this.unit >= stages.length - 1) this.pause()
    }, Math.max(120, Math.min(450, 9000 / stages.length)))
    this.play.textContent = "❚❚ Pause"
    this.play.setAttribute("aria-label", "Pause the film")
  }

  pause() {
    clearInterval(this.timer)
    this.timer = null
    this.play.textContent = "▶ Play"
    this.play.setAttribute("aria-label", "Play the film")
    this.setTriggerValue("unit", this.unit)
  }

  value(map, [row, column]) {
    const [height, width] = this.data.size
    return map.values[Math.floor((row * map.h) / height) * map.w + Math.floor((column * map.w) / width)]
  }

  say(position) {
    const stage = this.data.stages?.[this.unit]
    if (!position) {
      this.readout.innerHTML = ""
      this.readout.append(stage ? stage.label : this.data.hint ?? "")
      return
    }
    const [row, column] = position
    const parts = []
    for (const panel of this.data.panels) {
      if (!panel.terms?.length || panel.silent) continue
      const scale = this.data.scales[panel.scale]
      let total = 0
      const detail = panel.terms.map((term) => {
        const value = this.value(this.maps[term.map], position) * term.sign
        total += value
        return `${this.maps[term.map].name} ${value.toFixed(2)}`
      })
      const shown = panel.detail && detail.length > 1 ? ` (${detail.join(" · ")})` : ""
      parts.push([panel.says ?? "", `${total.toFixed(2)} ${scale?.unit ?? ""}`, shown])
    }
    this.readout.innerHTML = ""
    this.readout.append(`row ${row}, column ${column}`)
    for (const [name, value, shown] of parts) {
      const strong = document.createElement("b")
      strong.textContent = value
      this.readout.append(name ? `  ·  ${name} ` : "  ·  ", strong, shown)
    }
    if (stage) {
      const stopped = this.value(this.maps[stage.map], position)
      this.readout.append(`  ·  ${stopped > stage.unit ? "active" : `stopped after unit ${stopped}`} in ${stage.short}`)
    }
  }

  // What a panel shows, at the input's own resolution.
  layer(panel) {
    const [height, width] = this.data.size
    const key = JSON.stringify([panel.terms, panel.scale, panel.opacity, panel.film ? this.unit : -1, panel.picture])
    this.cache ??= new Map()
    if (this.cache.has(key)) return this.cache.get(key)
    const canvas = document.createElement("canvas")
    canvas.width = width
    canvas.height = height
    const context = canvas.getContext("2d", { willReadFrequently: true })
    if (panel.picture && this.image?.complete && this.image.naturalWidth) context.drawImage(this.image, 0, 0, width, height)
    const pixels = context.getImageData(0, 0, width, height)
    if (panel.film) this.spotlight(pixels, this.data.stages[this.unit])
    else if (panel.terms?.length) this.colour(pixels, panel)
    context.putImageData(pixels, 0, 0)
    if (this.cache.size > 80) this.cache.clear()
    this.cache.set(key, canvas)
    return canvas
  }

  colour(pixels, panel) {
    const [height, width] = this.data.size
    const { low, high } = this.data.scales[panel.scale]
    const table = this.tables[panel.scale]
    const total = new Float32Array(height * width)
    for (const term of panel.terms) {
      const map = this.maps[term.map]
      for (let y = 0, i = 0; y < height; y++) {
        const line = Math.floor((y * map.h) / height) * map.w
        for (let x = 0; x < width; x++, i++) total[i] += term.sign * map.values[line + Math.floor((x * map.w) / width)]
      }
    }
    const opacity = panel.picture ? panel.opacity : 1
    for (let i = 0; i < total.length; i++) {
      const share = Math.min(Math.max((total[i] - low) / (high - low || 1), 0), 1)
      const at = 3 * Math.round(255 * share)
      // Over the grey image: its own colours would mix with those of the map.
      const grey = 0.299 * pixels.data[4 * i] + 0.587 * pixels.data[4 * i + 1] + 0.114 * pixels.data[4 * i + 2]
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = opacity * table[at + c] + (1 - opacity) * grey
      pixels.data[4 * i + 3] = 255
    }
  }

  // Positions that still run keep their colours; those that stopped go dark.
  spotlight(pixels, stage) {
    const [height, width] = this.data.size
    const map = this.maps[stage.map]
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const active = map.values[Math.floor((y * map.h) / height) * map.w + Math.floor((x * map.w) / width)] > stage.unit
        if (active) continue
        const d = pixels.data
        const grey = 0.3 * d[4 * i] + 0.6 * d[4 * i + 1] + 0.1 * d[4 * i + 2]
        d[4 * i] = 10 + 0.16 * grey
        d[4 * i + 1] = 16 + 0.18 * grey
        d[4 * i + 2] = 26 + 0.24 * grey
      }
    }
  }

  draw() {
    if (!this.data) return
    const [height, width] = this.data.size
    const panels = this.data.mode === "swipe" ? [this.data.panels[0]] : this.data.panels
    panels.forEach((panel, i) => {
      const canvas = this.grid.children[i]?.querySelector("canvas.view")
      if (!canvas || !canvas.clientWidth) return
      canvas.classList.toggle("zoomed", this.zoom > 1)
      const ratio = Math.min(window.devicePixelRatio || 1, 2)
      const w = Math.round(canvas.clientWidth * ratio)
      const h = Math.round((w * height) / width)
      if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h })
      const context = canvas.getContext("2d")
      context.imageSmoothingEnabled = false
      context.setTransform(1, 0, 0, 1, 0, 0)
      context.clearRect(0, 0, w, h)
      const scale = (w * this.zoom) / width
      const left = w / 2 - this.centre[1] * width * scale
      const top = h / 2 - this.centre[0] * height * scale
      const paint = (layer) => context.drawImage(layer, left, top, width * scale, height * scale)
      paint(this.layer(panel))
      if (this.data.mode === "swipe") {
        context.save()
        context.beginPath()
        context.rect(this.split * w, 0, w, h)
        context.clip()
        paint(this.layer(this.data.panels[1]))
        context.restore()
        context.fillStyle = "#fff"
        context.fillRect(this.split * w - 1.5 * ratio, 0, 3 * ratio, h)
      }
      if (this.mark) this.frame(context, this.mark, scale, left, top, ratio, 2)
      if (this.hover) this.frame(context, this.hover, scale, left, top, ratio, 1)
    })
  }

  // Frame a position: the cell of the finest map that it lies in.
  frame(context, [row, column], scale, left, top, ratio, width) {
    const [height, across] = this.data.size
    const map = this.finest()
    const cell = [height / map.h, across / map.w]
    const y = Math.floor((row * map.h) / height) * cell[0]
    const x = Math.floor((column * map.w) / across) * cell[1]
    for (const [colour, line] of [["rgba(0,0,0,0.85)", width + 2], ["#fff", width]]) {
      context.strokeStyle = colour
      context.lineWidth = line * ratio
      context.strokeRect(left + x * scale, top + y * scale, cell[1] * scale, cell[0] * scale)
    }
  }
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
}

function decode(text) {
  return new Float32Array(bytes(text).buffer)
}

function short(value) {
  if (Number.isInteger(value)) return String(value)
  return Math.abs(value) < 1 ? String(Number(value.toPrecision(2))) : value.toFixed(Math.abs(value) < 10 ? 2 : 1)
}
