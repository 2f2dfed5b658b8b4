"""SACT Explorer: see where a network thinks. Run with: sact app, or streamlit run this file.

Streamlit imports this file once, to see how the app is served, and runs it for every visit.
"""

from app.folders import ROOT
from sact_core.extras import MissingPackage, need

try:
    import streamlit as st
except ModuleNotFoundError:
    raise SystemExit(
        "error: the app needs streamlit, which is not installed: "
        "pip install 'sact-explorer[app]' brings it"
    ) from None

if __name__ == "streamlit_app":
    from starlette.middleware import Middleware

    from app.serving import Dressed

    served = st.App(__file__, middleware=[Middleware(Dressed)])
else:
    st.set_page_config(
        page_title="SACT Explorer",
        page_icon=str(ROOT / "app" / "logo_icon.png"),
        layout="wide",
        menu_items={
            "About": "**SACT Explorer** shows where a network with spatially adaptive computation "
            "time spends its computation. After Figurnov et al., CVPR 2017, arXiv:1612.02297."
        },
    )
    try:
        need("app", "the app")
    except MissingPackage as error:
        st.error(str(error), icon=":material/error:")
        st.stop()

    from app import front

    front.show()
