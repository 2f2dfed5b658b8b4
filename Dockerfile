# The app in a container; docs/serving.md says how it is served to others.
#
#     docker build -t sact-explorer .
#     docker run --rm --read-only --tmpfs /tmp -v sact-cache:/cache -v sact-data:/data \
#         -p 127.0.0.1:8501:8501 sact-explorer

FROM python:3.11-slim AS build
RUN python -m venv /opt/sact
ENV PATH=/opt/sact/bin:$PATH
WORKDIR /source
# PyTorch without CUDA, which would be gigabytes; --build-arg TORCH_INDEX=… for another.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt requirements-bench.txt ./
RUN pip install --no-cache-dir --extra-index-url $TORCH_INDEX -r requirements.txt -r requirements-bench.txt
COPY pyproject.toml README.md LICENSE streamlit_app.py ./
COPY sact_core sact_core
COPY app app
COPY .streamlit .streamlit
COPY pretrained pretrained
RUN pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
COPY --from=build /opt/sact /opt/sact
# All that is written goes to two volumes: /cache, which may be lost, and /data.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /cache sact && install -d -o sact -g sact /cache /data
ENV PATH=/opt/sact/bin:$PATH
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV HOME=/cache XDG_CACHE_HOME=/cache MPLCONFIGDIR=/cache/matplotlib NUMBA_CACHE_DIR=/cache/numba
ENV SACT_RUNS_DIR=/data/runs TFDS_DATA_DIR=/data/tensorflow_datasets
ENV STREAMLIT_SERVER_ADDRESS=0.0.0.0 STREAMLIT_SERVER_PORT=8501
USER 10001:10001
WORKDIR /data
VOLUME /cache /data
EXPOSE 8501
# A base path, where there is one, is set by STREAMLIT_SERVER_BASE_URL_PATH, which this reads.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD python -c "import os, urllib.request as r; e = os.environ; b = e.get('STREAMLIT_SERVER_BASE_URL_PATH', '').strip('/'); r.urlopen('http://127.0.0.1:' + e['STREAMLIT_SERVER_PORT'] + (b and '/' + b) + '/_stcore/health', timeout=4)"
CMD ["sact", "app", "--no-browser"]
