// The explorer in a notebook, by the protocol of anywidget. It lives in a shadow root, so
// that neither its style nor the notebook's reaches the other. Traits of one gesture are
// set before one save_changes.

const TRAITS = ["position", "tau", "unit"]

export default {
  render({ model, el }) {
    const root = el.shadowRoot ?? el.attachShadow({ mode: "open" })
    const box = make("div")
    root.replaceChildren(make("style", { textContent: STYLE }), box)
    const theme = notebookTheme()
    if (theme) el.dataset.theme = theme
    const explorer = new Explorer(box, JSON.parse(new TextDecoder().decode(model.get("_data"))), {
      told: (name, value) => {
        model.set(name, value)
        model.save_changes()
      },
    })
    const listen = TRAITS.map((name) => [`change:${name}`, () => explorer.take(name, model.get(name))])
    for (const [event, take] of listen) {
      take()
      model.on(event, take)
    }
    return () => {
      for (const [event, take] of listen) model.off(event, take)
      explorer.destroy()
    }
  },
}

// Light or dark, as JupyterLab, VS Code and marimo say it; the system's where none does.
function notebookTheme() {
  const { body, documentElement } = document
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "true" ? "light" : "dark"
  const said = `${body.className} ${documentElement.className} ${body.dataset.theme ?? ""}`
  return /\b(vscode-)?dark\b/.test(said) ? "dark" : /\b(vscode-)?light\b/.test(said) ? "light" : null
}
