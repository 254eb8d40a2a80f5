# Sabatier with GPAW and an embedded MongoDB. Made by the scripts that install it on any machine.
#   docker build -t sabatier .
#   docker run --rm -v "$PWD:/campaigns" sabatier run demo --home runs/demo
FROM debian:12-slim

WORKDIR /opt/sabatier
COPY .ci/setup-system .ci/find-python .ci/
RUN .ci/setup-system && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 sabatier && chown sabatier /opt/sabatier && install -d -o sabatier /campaigns
COPY --chown=sabatier . .
USER sabatier
RUN make install && rm -rf /home/sabatier/.cache

# HOME: the caches of libraries need a place to write to under any --user.
ENV HOME=/tmp PATH=/opt/sabatier/.venv/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /campaigns
ENTRYPOINT ["sabatier"]
