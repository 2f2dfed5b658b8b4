#!/usr/bin/env bash
# Streamlit draws the lowest colour of Plotly's Magma and Inferno in a bright category colour.
#
# Streamlit 1.67.0 with Plotly 7.1.0. Streamlit marks the colours of its chart theme by
# placeholders, #000001 for the first category and so on, and replaces them by text wherever they
# stand in a figure. Plotly's Magma and Inferno begin with #000004, which is the fourth: the page
# gets a scale that begins with a bright colour where the figure handed in begins with black.
# theme=None, which is to leave a figure as it is, replaces it too, by the fourth colour of
# Plotly's own cycle. No error, no warning.
#
# Seen: the first stop arrives as the theme's fourth category colour (#ab63fa with theme=None),
# the second unchanged; a scale that begins with #010004 arrives as it is. What to do: that, and
# mind that #000001 to #00000A and some dozen more of that kind are placeholders too.
#
# Needs chromium. Fails if what it sees changes.
set -euo pipefail
work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
browser=$(command -v chromium || command -v google-chrome) || { echo "chromium is needed"; exit 2; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet streamlit==1.67.0 plotly==7.1.0 playwright==1.65.2

cat > "$work/page.py" <<'PY'
import plotly.graph_objects as go
import streamlit as st

figure = go.Figure(go.Heatmap(z=[[0, 1], [2, 3]], colorscale="Magma"))
assert figure.data[0].colorscale[0][1] == "#000004"
st.plotly_chart(figure, key="themed")
st.plotly_chart(figure, key="plain", theme=None)
scale = [(at, "#010004" if at == 0 else colour) for at, colour in figure.data[0].colorscale]
st.plotly_chart(go.Figure(go.Heatmap(z=[[0, 1], [2, 3]], colorscale=scale)), key="shifted")
st.write("drawn")
PY

cat > "$work/look.py" <<'PY'
import sys

from playwright.sync_api import sync_playwright

READ = "all => all.map(each => each.data[0].colorscale.slice(0, 2).map(stop => stop[1]))"
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=sys.argv[1], args=["--no-sandbox", "--disable-gpu"]
    )
    page = browser.new_page()
    page.goto(f"http://localhost:{sys.argv[2]}")
    page.get_by_text("drawn").wait_for(timeout=60_000)
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 3")
    themed, plain, shifted = page.eval_on_selector_all(".js-plotly-plot", READ)
    browser.close()
print("handed in:             ", ["#000004", "#180f3d"])
print("with Streamlit's theme:", themed)
print("with theme=None:       ", plain)
print("begun with #010004:    ", shifted)
assert themed[1] == plain[1] == shifted[1] == "#180f3d", "more than the first stop differs"
assert shifted[0] == "#010004", "other colours are replaced too"
assert themed[0] != "#000004", "the first colour arrives as it was handed in: mended"
assert plain[0] == "#ab63fa", "theme=None does something else"
PY

port=8693
cd "$work"
"$work/venv/bin/streamlit" run "$work/page.py" --server.headless true --server.port $port \
    --browser.gatherUsageStats false > "$work/log" 2>&1 &
server=$!
for _ in $(seq 60); do
    "$work/venv/bin/python" -c "import urllib.request as u; u.urlopen('http://localhost:$port/_stcore/health')" 2>/dev/null && break
    sleep 0.5
done
"$work/venv/bin/python" "$work/look.py" "$browser" $port
echo "as described"
