"""What a server holds does not grow with what people hand in."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.app.conftest import ROOT

#: Uploads photographs of 12 megapixels one after another; prints the memory after each.
UPLOADS = """
import io, json, sys
import numpy as np
from PIL import Image
from streamlit.testing.v1 import AppTest
from app import loaders

assert loaders.ready(600)
page = AppTest.from_file(sys.argv[1], default_timeout=300).run()
held = []
for i in range(int(sys.argv[2])):
    pixels = np.random.default_rng(i).integers(0, 255, (75, 100, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((4000, 3000)).save(file, "JPEG", quality=92)
    page.file_uploader(key="explore_upload").upload(f"{i}.jpg", file.getvalue()).run()
    assert not page.exception and not page.error
    assert page.selectbox(key="explore_image").value == f"{i}.jpg"
    with open("/proc/self/statm") as statm:
        held.append(int(statm.read().split()[1]) * 4096)
print(json.dumps(held))
"""


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_after_many_uploads_is_that_of_a_few(pretrained):
    done = subprocess.run(
        [sys.executable, "-c", UPLOADS, str(ROOT / "streamlit_app.py"), "12"],
        cwd=ROOT,
        env=os.environ | {"SACT_PRETRAINED_DIR": str(pretrained)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held = json.loads(done.stdout)
    print([f"{each / 2**20:.0f} MB" for each in held])

    # Two photographs are kept of a visit; from then on one comes for another.
    assert max(held[3:]) < 1.3 * held[2]
