// The viewer as a component of Streamlit: values go back by setStateValue and
// setTriggerValue.

const viewers = new WeakMap()

export default function (component) {
  const host = component.parentElement.querySelector(".viewer")
  if (!host) return
  let viewer = viewers.get(host)
  if (!viewer) viewers.set(host, (viewer = new Viewer(host)))
  viewer.update(component)
  return () => viewer.destroy()
}
