"""Pages of the app: links with strange values, and networks that say strange things."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.conftest import ROOT
from tests.fuzz.kinds import Case, Checkpoints, Kind
from tests.fuzz.mutation import Rng, pick

PAGES = sorted(path.stem for path in (ROOT / "app" / "pages").glob("*.py"))

VALUES = [
    *("", " ", "0", "1", "2", "3", "-1", "1e400", "-1e400", "nan", "inf", "9" * 400, "0.5", "/"),
    *("1e-400", "\u0663", "0x10", "None", "true", "false", "True", "\x00", "\ufffd", "\u202e"),
    *("a" * 5000, "../..", "[x](http://a.example)", "<script>", "![](http://a.example/x.png)"),
    *("$\\frac{1}{0}$", ":material/x:"),
    *("tiny_sact_tau0.005", "tiny_act", "tiny_vanilla", "zoo_photos_tau0.01", "tiny_sact_anytau"),
    *("strange", "Cat", "Astronaut", "num_units", "ponder_cost", "magma", "units", "20", "320"),
    *("4096", "1 0.3, 2", "0.1 0.2 0.3", "1,1,1", "{}", "[]", "0-1", "Every class", "Small images"),
]  # fmt: skip


class Pages(Kind):
    """Every page, opened by a link."""

    stops = 60.0
    cost = 10

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from tests.app.conftest import write_any_tau

        write_any_tau(good / "pretrained")
        (good / "pretrained" / "strange.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
        self.strange = Checkpoints(good / "checkpoints")
        self.keys = sorted(_keys())

    def make(self, rng: Rng, folder: Path) -> Case:
        pretrained = folder / "pretrained"
        pretrained.mkdir()
        for path in (self.good / "pretrained").iterdir():
            (pretrained / path.name).symlink_to(path)
        page = str(pick(rng, PAGES))
        keys = [key for key in self.keys if key.startswith(page)] or self.keys
        query = {}
        for _ in range(int(rng.integers(1, 5))):
            key = str(pick(rng, keys if rng.random() < 0.9 else self.keys))
            query[key] = str(pick(rng, VALUES))
        if rng.random() < 0.5:
            path = pretrained / "strange.h5"
            path.unlink()
            number = int(rng.integers(len(self.strange.whole)))
            what = self.strange.signed(rng, path, self.strange.whole[number])
            query[f"{page}_checkpoint"] = "strange"
        else:
            what = "links"

        def run() -> int:
            import streamlit as st
            from streamlit.testing.v1 import AppTest

            os.environ["SACT_PRETRAINED_DIR"] = str(pretrained)
            os.environ["SACT_RUNS_DIR"] = str(folder / "runs")
            os.environ["TFDS_DATA_DIR"] = str(folder / "data")
            st.cache_data.clear()
            st.cache_resource.clear()
            at = AppTest.from_file(str(ROOT / "app" / "pages" / f"{page}.py"), default_timeout=1000)
            for key, value in query.items():
                at.query_params[key] = value
            at.run()
            for error in at.exception:
                raise AssertionError(f"an error page: {error.value}\n{error.stack_trace}")
            assert at.title
            return 0

        return Case(f"{what}: {page} {query}", run)


def _keys() -> set[str]:
    """Names of query parameters, as the code of the app has them."""
    found = set()
    for path in (ROOT / "app").rglob("*.py"):
        text = path.read_text()
        for key in re.findall(r'key=f?"([^"]+)"', text) + re.findall(r"\{page\}_\w+", text):
            for page in PAGES:
                name = re.sub(r"\{[^}]*\}", "cifar", key.replace("{page}", page))
                if name.startswith(page):
                    found.add(name)
    return found | {f"{page}_{name}" for page in PAGES for name in ("checkpoint", "image", "tau")}
