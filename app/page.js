// Stands in the page before Streamlit draws anything: app/serving.py puts it there.
{
  // Where the app is. Streamlit would look for it below the address of every page first.
  // A proxy may have taken a prefix away, so that only the browser knows the whole path.
  const parts = location.pathname.split("/")
  parts.splice(parts.length - STEPS)
  window.__streamlit = { BACKEND_BASE_URL: `${location.origin}${parts.join("/")}/` }
  // On a wall: large type and no side bar, from the start.
  if (/[?&]present=true\b/i.test(location.search)) document.documentElement.classList.add("presenting")
  // How wide the side bar will be: as it was left.
  try {
    const kept = Object.entries(localStorage)
    const closed = kept.some(([key, value]) => key.startsWith("stSidebarCollapsed-") && value === "true")
    const width = closed ? 0 : parseInt(localStorage.getItem("sidebarWidth"), 10)
    if (!isNaN(width)) document.documentElement.style.setProperty("--side-bar", `${width}px`)
  } catch {
    // A browser that keeps nothing.
  }
}
