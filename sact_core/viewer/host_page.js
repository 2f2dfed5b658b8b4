// The viewer in a file of its own: data stands in the page, and nothing is asked for.

const root = document.documentElement
const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark"
const theme = document.querySelector(".theme")
const named = () => (theme.textContent = dark() ? "Light" : "Dark")
theme.onclick = () => {
  root.dataset.theme = dark() ? "light" : "dark"
  named()
}
matchMedia("(prefers-color-scheme: dark)").onchange = named
named()
theme.hidden = false

new Explorer(document.querySelector("main"), JSON.parse(document.getElementById("data").textContent))
