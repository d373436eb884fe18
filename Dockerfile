# What docker-compose.yml runs: streamfn with Kafka and AWS, as pinned, and the app in examples/compose.
# For an app of your own put it in that one's place, and CMD ["streamfn", "run", "app.py"].
FROM python:3.13-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/streamfn
COPY requirements/run.txt requirements/
RUN /opt/streamfn/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY streamfn streamfn
COPY connectors connectors
RUN /opt/streamfn/bin/pip install --no-cache-dir --no-deps --no-build-isolation .
# The flights, once, so that nothing is fetched later.
RUN XDG_CACHE_HOME=/data /opt/streamfn/bin/python -c "from streamfn.demo import dataset; dataset.fetch()"

FROM python:3.13-slim-bookworm
COPY --from=build /opt/streamfn /opt/streamfn
COPY --from=build /data /data
RUN useradd --uid 10001 --create-home streamfn \
    && install --directory --owner=streamfn --group=streamfn /var/lib/streamfn
ENV PATH=/opt/streamfn/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STREAMFN_STATE_DIR=/var/lib/streamfn \
    XDG_CACHE_HOME=/data
WORKDIR /app
COPY examples/compose examples/compose
USER 10001:10001
CMD ["streamfn", "--help"]
