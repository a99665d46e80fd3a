# Images of Docyard, by target: `docyard` (jobs and drains, the default), `review` (the server of the pages) and
# `worker` (Beam's SDK container). See docs/deployment.md.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=ocr,queue,review,lake
# Further requirements, such as apache-beam[gcp] for Dataflow.
ARG MORE=""
WORKDIR /src
RUN python -m venv /opt/docyard
COPY constraints.txt ./
COPY setup.py pyproject.toml MANIFEST.in README.md CHANGELOG.md LICENSE ./
COPY schemas schemas
COPY warehouse warehouse
COPY models models
COPY data_quality data_quality
COPY extraction extraction
COPY transforms transforms
COPY escalation escalation
COPY pipelines pipelines
RUN /opt/docyard/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[${EXTRAS}]" ${MORE} \
    && /opt/docyard/bin/pip check

FROM python:${PYTHON}-slim AS base
COPY --from=build /opt/docyard /opt/docyard
ENV PATH=/opt/docyard/bin:$PATH PYTHONUNBUFFERED=1
RUN install -d -o 10001 -g 10001 /data
WORKDIR /data
USER 10001:10001

FROM apache/beam_python${PYTHON}_sdk:2.77.0 AS beam

FROM base AS worker
COPY --from=beam /opt/apache/beam /opt/apache/beam
# The worker starts in the environment above, not in a new one that would not see it.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM base AS review
EXPOSE 8300
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8300/healthz', timeout=4)"]
ENTRYPOINT ["docyard"]
CMD ["review", "serve", "--config", "/etc/docyard/review.toml"]

FROM base AS docyard
ENTRYPOINT ["docyard"]
CMD ["--help"]
